/**
 * The task images a submitter can name: those of `ctd image add`, kept in the home with their
 * archive in the blob store, and those that `ctd image build` left in the cache beside the source.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import type { ImageRef } from '../container/container-runtime.js'
import { CtdError } from '../errors.js'
import type { Image } from '../wire/generated/job.js'
import { fromHex, parseDigest } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'

const hex = z.string().regex(/^[0-9a-f]{64}$/)
const RefSchema = z.object({
  name: z.string().max(200),
  configDigest: hex,
  manifestDigest: hex,
  diffIds: z.array(hex).min(1).max(64),
  sizeBytes: z.number().int().positive(),
})
const ShelvedSchema = z.object({
  ...RefSchema.shape,
  /** The blob of the archive, as it travels. */
  archive: hex,
  archiveBytes: z.number().int().positive(),
  addedMs: z.number(),
})

/** An image of `ctd image add`. */
export interface ShelvedImage extends ImageRef {
  readonly archive: Digest
  readonly archiveBytes: number
  readonly addedMs: number
}

/** The built images: reference and archive, beside the reference of the CPU image. */
const BUILT: Readonly<Record<string, { readonly ref: string; readonly archive: string }>> = {
  cpu: { ref: '', archive: 'cpu.tar' },
  test: { ref: 'test-image.json', archive: 'test-image.tar' },
}
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/
const SHELVED_MAX = 1024

export interface ImageShelfComponents {
  /** Takes a file into the blob store without copying it. */
  readonly adopt: (path: string, holder: string) => Promise<{ readonly digest: Digest }>
  readonly hold: (holder: string, digest: Digest) => void
  readonly release: (holder: string) => void
}

export interface ImageShelfOptions {
  /** Reference file of the CPU image. */
  readonly cpuReference: string
  /** Folder of the images that were added. */
  readonly dir: string
}

export class ImageShelf {
  readonly #components: ImageShelfComponents
  readonly #options: ImageShelfOptions

  constructor(components: ImageShelfComponents, options: ImageShelfOptions) {
    this.#components = components
    this.#options = options
  }

  /** Holds the archives of what was added by earlier processes. */
  async load(): Promise<void> {
    await mkdir(this.#options.dir, { recursive: true, mode: 0o700 })
    for (const [name, { archive }] of await this.added()) {
      this.#components.hold(imageHolder(name), archive)
    }
  }

  /** What was added, by name. */
  async added(): Promise<ReadonlyMap<string, ShelvedImage>> {
    const names = (await readdir(this.#options.dir)).filter((file) => file.endsWith('.json')).sort()
    const found = new Map<string, ShelvedImage>()
    for (const file of names.slice(0, SHELVED_MAX)) {
      const image = await this.#readAdded(basename(file, '.json'))
      if (image !== undefined) found.set(basename(file, '.json'), image)
    }
    return found
  }

  /** What was built here, by name. */
  async built(): Promise<ReadonlyMap<string, ImageRef>> {
    const found = new Map<string, ImageRef>()
    for (const name of Object.keys(BUILT)) {
      // What was never built is no error here.
      const ref = await this.reference(name).catch(() => undefined)
      if (ref !== undefined) found.set(name, ref)
    }
    return found
  }

  /** @throws CtdError BAD_IMAGE_NAME, IMAGE_NAME_TAKEN, TOO_MANY_IMAGES */
  async assertFree(name: string, image: ImageRef): Promise<void> {
    if (!NAME.test(name)) {
      throw new CtdError('BAD_IMAGE_NAME', `not a name for an image: ${name.slice(0, 80)}`, {
        hint: 'lower-case letters, digits, dot, dash and underscore: ctd image add PATH --name NAME',
      })
    }
    const known = (await this.added()).get(name)
    const isOther = known !== undefined && known.configDigest !== image.configDigest
    if (isOther || BUILT[name] !== undefined) {
      const others = BUILT[name] === undefined ? `, or remove it: ctd image rm ${name}` : ''
      throw new CtdError('IMAGE_NAME_TAKEN', `there is another image named ${name}`, {
        hint: `choose another name with --name${others}`,
      })
    }
    if ((await this.added()).size >= SHELVED_MAX) {
      throw new CtdError('TOO_MANY_IMAGES', `${SHELVED_MAX} images are kept already`)
    }
  }

  /** Shelves an image under a name; its archive is held from now on. @throws as `assertFree` */
  async add(name: string, image: ShelvedImage): Promise<void> {
    await this.assertFree(name, image)
    this.#components.release(imageHolder(name))
    this.#components.hold(imageHolder(name), image.archive)
    const path = this.#addedPath(name)
    await writeFile(`${path}.new`, `${JSON.stringify(image, null, 2)}\n`)
    await rename(`${path}.new`, path)
  }

  /** @throws CtdError IMAGE_UNKNOWN, IMAGE_BUILT */
  async remove(name: string): Promise<ShelvedImage> {
    const image = NAME.test(name) ? await this.#readAdded(name) : undefined
    if (image === undefined) {
      if (BUILT[name] === undefined) throw this.#unknown(name)
      throw new CtdError('IMAGE_BUILT', `the image ${name} was built here, not added`, {
        hint: `it lies in ${dirname(this.#options.cpuReference)}`,
      })
    }
    await rm(this.#addedPath(name), { force: true })
    this.#components.release(imageHolder(name))
    return image
  }

  /** @throws CtdError IMAGE_UNKNOWN */
  async reference(name: string): Promise<ImageRef> {
    const added = NAME.test(name) ? await this.#readAdded(name) : undefined
    if (added !== undefined) return added
    const path = this.#referencePath(name)
    try {
      return RefSchema.parse(JSON.parse(await readFile(path, 'utf8')))
    } catch (cause) {
      throw new CtdError('IMAGE_UNKNOWN', `there is no task image "${name.slice(0, 60)}" here`, {
        cause,
        hint: 'what there is: ctd image ls    build the CPU image: ctd image build',
      })
    }
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
    const added = NAME.test(name) ? await this.#readAdded(name) : undefined
    if (added !== undefined) {
      this.#components.hold(holder, added.archive)
      return added.archive
    }
    const plain = join(dirname(this.#referencePath(name)), BUILT[name]?.archive ?? 'image.tar')
    const path = (await isFresh(`${plain}.zst`, plain)) ? `${plain}.zst` : plain
    if (!existsSync(path)) return undefined // Not served: peers need to have the image already.
    return (await this.#components.adopt(path, holder)).digest
  }

  async #readAdded(name: string): Promise<ShelvedImage | undefined> {
    try {
      const found = ShelvedSchema.parse(JSON.parse(await readFile(this.#addedPath(name), 'utf8')))
      return { ...found, archive: parseDigest(found.archive) }
    } catch {
      return undefined // There is none, or it is not ours.
    }
  }

  #addedPath(name: string): string {
    return join(this.#options.dir, `${name}.json`)
  }

  #referencePath(name: string): string {
    const { cpuReference } = this.#options
    const built = BUILT[name]
    if (built !== undefined) {
      return built.ref === '' ? cpuReference : join(dirname(cpuReference), built.ref)
    }
    if (name.endsWith('.json')) return name
    throw this.#unknown(name)
  }

  #unknown(name: string): CtdError {
    return new CtdError('IMAGE_UNKNOWN', `there is no task image "${name.slice(0, 60)}" here`, {
      hint: 'what there is: ctd image ls    bring one: ctd image add ARCHIVE --name NAME',
    })
  }
}

/** The name under which an added image holds its archive. */
export function imageHolder(name: string): string {
  return `image/${name}`
}

/** Whether a compressed archive is there and made from the plain one. */
async function isFresh(compressed: string, plain: string): Promise<boolean> {
  const [made, from] = await Promise.all(
    [compressed, plain].map((path) => stat(path).catch(() => undefined)),
  )
  return made !== undefined && made.mtimeMs >= (from?.mtimeMs ?? 0)
}
