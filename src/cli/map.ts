/** `ctd embed` and `ctd generate`: a given model goes over rows, and the result is one file. */
import { lstat, mkdir } from 'node:fs/promises'
import { dirname, extname, resolve } from 'node:path'
import type { FileView, JobView, MapRequest } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'
import { DATA_FORMATS, formatOfName, type DataFormat } from '../training/data/source.js'
import { MAP_OUTPUTS, type MapOutput } from '../training/map.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { interruptible } from './interrupt.js'
import { writeArtifact } from './results.js'
import { commonFields, submitAndFollow, type CommonFlags } from './submit.js'
import { parseWhole, shortJob, usage } from './units.js'

export interface MapFlags extends CommonFlags {
  readonly model: string
  /** Of `embed`. */
  readonly dataset?: string
  /** Of `generate`. */
  readonly prompts?: string
  readonly out: string
  readonly format?: string
  readonly textColumn?: string
  readonly maxTokens?: string
  readonly temperature?: string
  readonly shards?: string
  readonly force?: boolean
}

/** Runs `ctd embed` or `ctd generate`; returns the exit code. */
export async function mapCommand(
  context: Context,
  verb: MapRequest['verb'],
  flags: MapFlags,
): Promise<number> {
  const request = mapRequest(verb, flags)
  const target = resolve(flags.out)
  // Told before anything is uploaded or computed.
  if (flags.force !== true && (await lstat(target).catch(() => undefined)) !== undefined) {
    throw new CtdError('FILE_EXISTS', `${target} is there already`, {
      hint: 'choose another name, or replace it with --force',
    })
  }
  return await submitAndFollow(context, request, process.cwd(), flags, async (job) => {
    const { path, sizeBytes } = await writeRows(context, job, target)
    context.tell(`wrote  ${path} (${sizeBytes} bytes)`)
    return EXIT.ok
  })
}

/** The request that flags stand for. @throws CtdError USAGE */
export function mapRequest(verb: MapRequest['verb'], flags: MapFlags): MapRequest {
  const dataset = (verb === 'embed' ? flags.dataset : flags.prompts) ?? ''
  const { textColumn, maxTokens, temperature, shards } = flags
  const format = formatOf(flags.format, dataset)
  return {
    kind: 'map',
    verb,
    model: flags.model,
    dataset,
    output: outputOf(verb, flags.out),
    ...commonFields(flags),
    ...(format === undefined ? {} : { format }),
    ...(textColumn === undefined ? {} : { textColumn }),
    ...(maxTokens === undefined ? {} : { maxTokens: parseWhole(maxTokens, 1, 8191) }),
    ...(temperature === undefined ? {} : { temperature: parseTemperature(temperature) }),
    ...(shards === undefined ? {} : { shards: parseWhole(shards, 1, 255) }),
  }
}

function outputOf(verb: MapRequest['verb'], out: string): MapOutput {
  const allowed = MAP_OUTPUTS.filter((output) => verb === 'embed' || output !== 'npy')
  const found = allowed.find((output) => extname(out).toLowerCase() === `.${output}`)
  if (found !== undefined) return found
  throw usage(
    `--out ${out}: the ending says how rows are written`,
    `one of ${allowed.map((one) => `.${one}`).join(', ')}`,
  )
}

function formatOf(format: string | undefined, dataset: string): DataFormat | undefined {
  if (format === undefined) return formatOfName(dataset)
  const known = DATA_FORMATS.find((one) => one === format)
  if (known !== undefined) return known
  throw usage(`not a format: "${format}"`, `one of ${DATA_FORMATS.join(', ')}`)
}

function parseTemperature(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= 0 && value <= 10) return value
  throw usage(`--temperature ${text} is no number from 0 to 10`)
}

/** Brings the one file of the result. @throws CtdError FILE_INCOMPLETE */
async function writeRows(
  context: Context,
  job: JobView,
  target: string,
): Promise<{ readonly path: string; readonly sizeBytes: number }> {
  const files = await context.client.get<FileView[]>(`/v1/jobs/${job.id}/files`)
  const file = files.find(({ digest }) => digest === job.result?.['hash'])
  if (file === undefined) {
    throw new CtdError('FILE_INCOMPLETE', 'the result has no file', {
      hint: `ctd results ${shortJob(job.id)} --out DIR`,
    })
  }
  await mkdir(dirname(target), { recursive: true })
  const advice = `fetch it again: ctd results ${shortJob(job.id)} --out DIR`
  await interruptible(advice, (signal) => writeArtifact(context, job.id, file, target, signal))
  return { path: target, sizeBytes: file.sizeBytes }
}
