/** `ctd image`: task images, from an archive to the peers that run them. */
import { spawn } from 'node:child_process'
import { createReadStream, existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Transform } from 'node:stream'
import type { ImageProgressView, ImageView } from '../api/image-desk.js'
import { CtdError } from '../errors.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { interruptible } from './interrupt.js'
import { formatPairs, formatTable } from './terminal.js'
import { TransferLine } from './transfer-line.js'
import { formatAge, formatBytes } from './units.js'

const PACKAGE_DIR = resolve(import.meta.dirname, '..', '..')
const DIGEST_CHARS = 12

/** `ctd image ls`. */
export async function imageLsCommand(context: Context): Promise<number> {
  const images = await context.client.get<ImageView[]>('/v1/images')
  if (context.json) context.printJson(images)
  else if (images.length === 0) {
    context.tell('no images yet; build the CPU image: ctd image build    or: ctd image add ARCHIVE')
  } else context.print(imageTable(images, Date.now(), context.columns))
  return EXIT.ok
}

/** The table of `ctd image ls`; an image without a name was brought by others' jobs. */
export function imageTable(
  images: readonly ImageView[],
  nowMs: number,
  columns: number | undefined,
): string {
  const rows = images.map((image) => {
    const places = [
      ...(image.inEngine ? ['engine'] : []),
      ...(image.inStore ? [`store:${formatBytes(image.archiveBytes ?? 0)}`] : []),
    ]
    return [
      image.name,
      image.configDigest.slice(0, DIGEST_CHARS),
      formatBytes(image.sizeBytes),
      places.join(','),
      image.usedMs === null ? '' : formatAge(nowMs - image.usedMs),
      image.isLeased ? 'leased' : image.isLoaded ? 'evictable' : 'kept',
      image.tag,
    ]
  })
  return formatTable(['NAME', 'IMAGE', 'SIZE', 'WHERE', 'USED', 'STATE', 'TAG'], rows, {
    columns,
    cuts: 'TAG',
  })
}

/** `ctd image add PATH`. */
export async function imageAddCommand(
  context: Context,
  source: string,
  flags: { readonly name?: string },
): Promise<number> {
  const path = resolve(source)
  const status = await stat(path).catch(() => undefined)
  if (status?.isFile() !== true) {
    throw new CtdError('FILE_NOT_FOUND', `there is no archive ${path}`, {
      hint: 'save one: docker save IMAGE -o image.tar (Docker 25 or later), or ctd image build',
    })
  }
  const totalBytes = status.size
  const added = await interruptible('nothing was added; run it again', async (signal) => {
    const line = new TransferLine(context, `add ${basename(path)}`)
    let doneBytes = 0
    const counted = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        doneBytes += chunk.length
        line.step({ doneBytes, totalBytes })
        done(null, chunk)
      },
    })
    const file = createReadStream(path, { highWaterMark: 1024 * 1024 })
    file.once('error', (error) => counted.destroy(error))
    const { digest } = await context.client
      .upload(file.pipe(counted), signal)
      .finally(() => line.end())
    const body = { archive: digest, ...(flags.name === undefined ? {} : { name: flags.name }) }
    let told = ''
    return context.client.work<ImageProgressView, ImageView>(
      '/v1/images',
      body,
      ({ step }) => {
        if (step === told || context.json) return
        told = step
        context.tell(step === 'verify' ? 'verifying the archive' : 'compressing it once, with zstd')
      },
      signal,
    )
  })
  if (context.json) {
    context.printJson(added)
    return EXIT.ok
  }
  const archive = added.archiveBytes ?? totalBytes
  context.print(
    formatPairs([
      ['name', added.name],
      ['image', added.configDigest],
      ['manifest', added.manifestDigest],
      ['size', `${formatBytes(added.sizeBytes)}, ${formatBytes(archive)} as it travels`],
    ]),
  )
  context.tell(`next    ctd run --image ${added.name} -- COMMAND`)
  return EXIT.ok
}

/** `ctd image rm NAME`. */
export async function imageRmCommand(context: Context, name: string): Promise<number> {
  const removed = await context.client.delete<{ freedBytes: number }>(
    `/v1/images/${encodeURIComponent(name)}`,
  )
  if (context.json) context.printJson({ name, ...removed })
  else context.print(`removed ${name}  ${formatBytes(removed.freedBytes)} freed`)
  return EXIT.ok
}

export interface ImageBuildFlags {
  readonly force?: boolean
}

/**
 * `ctd image build`: the CPU image from Debian packages, by the script of the source tree; needs
 * no daemon.
 *
 * @throws CtdError CANNOT_BUILD_IMAGE without the source, off Debian or without root
 */
export async function imageBuildCommand(context: Context, flags: ImageBuildFlags): Promise<number> {
  const script = join(PACKAGE_DIR, 'scripts', 'bootstrap.mjs')
  if (!existsSync(script)) {
    throw new CtdError('CANNOT_BUILD_IMAGE', 'an installed package has no recipe to build from', {
      hint: 'build in a clone of the source, as root on Debian 12 or 13; or bring an archive: ctd image add',
    })
  }
  const args = ['build-image', ...(flags.force === true ? ['--force'] : [])]
  if (context.json) args.push('--json')
  const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit', cwd: PACKAGE_DIR })
  const code = await new Promise<number | null>((done, fail) => {
    child.once('error', fail)
    child.once('exit', done)
  })
  return code ?? EXIT.failure
}
