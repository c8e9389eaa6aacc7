/** The task images a submitter can name, as `scripts/build-image.ts` left them. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { ImageRef } from '../container/container-runtime.js'
import { CtdError } from '../errors.js'
import type { Image } from '../wire/generated/job.js'
import { fromHex } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'

const hex = z.string().regex(/^[0-9a-f]{64}$/)
const RefSchema = z.object({
  name: z.string().max(200),
  configDigest: hex,
  manifestDigest: hex,
  diffIds: z.array(hex).min(1).max(64),
  sizeBytes: z.number().int().positive(),
  /** File name of the archive beside the reference. */
  archive: z.string().optional(),
})

/** The names of the images inside a folder of references. */
const FILES: Readonly<Record<string, string>> = { cpu: '', test: 'test-image.json' }
const ARCHIVES: Readonly<Record<string, string>> = { cpu: 'cpu.tar', test: 'test-image.tar' }

export class ImageShelf {
  readonly #cpuReference: string
  readonly #adopt: (path: string, holder: string) => Promise<{ readonly digest: Digest }>

  /** @param adopt - takes a file into the blob store without copying it */
  constructor(
    cpuReference: string,
    adopt: (path: string, holder: string) => Promise<{ readonly digest: Digest }>,
  ) {
    this.#cpuReference = cpuReference
    this.#adopt = adopt
  }

  /** @throws CtdError IMAGE_UNKNOWN */
  async reference(name: string): Promise<ImageRef> {
    const path = this.#pathOf(name)
    try {
      return RefSchema.parse(JSON.parse(await readFile(path, 'utf8')))
    } catch (cause) {
      throw new CtdError('IMAGE_UNKNOWN', `there is no task image "${name.slice(0, 60)}" here`, {
        cause,
        hint: 'build the CPU image with: npm run image',
      })
    }
  }

  #pathOf(name: string): string {
    const file = FILES[name]
    if (file === '') return this.#cpuReference
    if (file !== undefined) return join(dirname(this.#cpuReference), file)
    if (name.endsWith('.json')) return name
    throw new CtdError('IMAGE_UNKNOWN', `there is no task image "${name.slice(0, 60)}" here`, {
      hint: `known: ${Object.keys(FILES).join(', ')}, or the path of an image reference file`,
    })
  }

  /**
   * The image as a manifest names it; its archive is put where peers can fetch it.
   *
   * @param holder - holds the archive's blob
   */
  async image(name: string, holder: string): Promise<Image> {
    const ref = await this.reference(name)
    const archive = await this.#archive(name, holder)
    return {
      name: ref.name,
      configDigest: fromHex(ref.configDigest),
      manifestDigest: fromHex(ref.manifestDigest),
      diffIds: ref.diffIds.map(fromHex),
      sizeBytes: ref.sizeBytes,
      archive: archive === undefined ? new Uint8Array(0) : fromHex(archive),
    }
  }

  async #archive(name: string, holder: string): Promise<Digest | undefined> {
    const reference = this.#pathOf(name)
    const path = join(dirname(reference), ARCHIVES[name] ?? 'image.tar')
    if (!existsSync(path)) return undefined // Not served: peers need to have the image already.
    return (await this.#adopt(path, holder)).digest
  }
}
