/** The images of this daemon, for the doors: what there is, what may be added, what may go. */
import type { Readable } from 'node:stream'
import type { BlobStore } from '../blob/blob-store.js'
import type { Clock } from '../clock.js'
import type { ContainerRuntime, ImageRef } from '../container/container-runtime.js'
import type { EngineImages } from '../container/engine-images.js'
import type { InspectedImage } from '../container/image-inspect.js'
import { CtdError } from '../errors.js'
import { parseBlobName } from '../wire/cid.js'
import type { ImageShelf } from './image-shelf.js'

export interface ImageView {
  /** What jobs call it; empty for an image that only others' jobs brought. */
  readonly name: string
  /** `repository:tag` of the image itself. */
  readonly tag: string
  readonly configDigest: string
  readonly manifestDigest: string
  readonly sizeBytes: number
  /** Where it is: in the engine, and as an archive that peers can fetch. */
  readonly inEngine: boolean
  readonly inStore: boolean
  /** As it travels; null where it is not in the store. */
  readonly archiveBytes: number | null
  /** Brought into the engine by this daemon, and removed by it when the budget asks. */
  readonly isLoaded: boolean
  readonly usedMs: number | null
  readonly isLeased: boolean
}

export interface ImageProgressView {
  readonly step: 'verify' | 'compress'
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface ImagePort {
  list(signal: AbortSignal): Promise<readonly ImageView[]>
  /**
   * Offers an image whose archive is a blob of this daemon.
   * @throws CtdError IMAGE_ARCHIVE_REFUSED, IMAGE_NAME_TAKEN, BLOB_UNKNOWN
   */
  add(
    archive: string,
    name: string | undefined,
    onProgress: (progress: ImageProgressView) => void,
    signal: AbortSignal,
  ): Promise<ImageView>
  /** By name, or how its config digest begins. @throws CtdError IMAGE_UNKNOWN, IMAGE_LEASED */
  remove(name: string, signal: AbortSignal): Promise<{ readonly freedBytes: number }>
}

export interface ImageDeskComponents {
  readonly blobs: BlobStore
  readonly shelf: ImageShelf
  readonly engineImages: EngineImages
  readonly runtime: Pick<ContainerRuntime, 'hasImage'>
  readonly clock: Clock
  readonly inspect: (path: string, signal: AbortSignal) => Promise<InspectedImage>
  /** Undefined where this machine has no compressor. */
  readonly compress: (path: string, signal: AbortSignal) => Promise<Readable | undefined>
}

const ENGINE_MS = 10_000
const ADDING = 'image-add'

export class ImageDesk implements ImagePort {
  readonly #parts: ImageDeskComponents
  #adding: Promise<unknown> = Promise.resolve()

  constructor(parts: ImageDeskComponents) {
    this.#parts = parts
  }

  async list(signal: AbortSignal): Promise<readonly ImageView[]> {
    const { shelf, engineImages } = this.#parts
    const views: ImageView[] = []
    const named = [...(await shelf.built()), ...(await shelf.added())]
    for (const [name, ref] of named) views.push(await this.#view(name, ref, signal))
    const known = new Set(views.map(({ configDigest }) => configDigest))
    for (const image of engineImages.list().toReversed()) {
      if (!known.has(image.configDigest)) views.push(await this.#view('', image, signal))
    }
    return views
  }

  add(
    archive: string,
    name: string | undefined,
    onProgress: (progress: ImageProgressView) => void,
    signal: AbortSignal,
  ): Promise<ImageView> {
    // One at a time: each reads and compresses gigabytes.
    const turn = this.#adding.then(() => this.#add(archive, name, onProgress, signal))
    this.#adding = turn.catch(() => undefined)
    return turn
  }

  async #add(
    archive: string,
    name: string | undefined,
    onProgress: (progress: ImageProgressView) => void,
    signal: AbortSignal,
  ): Promise<ImageView> {
    const { blobs, shelf, inspect, compress, clock } = this.#parts
    const given = parseBlobName(archive)
    const totalBytes = blobs.size(given)
    signal.throwIfAborted()
    blobs.hold(ADDING, given)
    try {
      onProgress({ step: 'verify', doneBytes: 0, totalBytes })
      const { isCompressed, ...ref } = await inspect(blobs.path(given), signal)
      const label = name ?? shortName(ref.name) ?? ref.configDigest.slice(0, 12)
      await shelf.assertFree(label, ref)
      let kept = { digest: given, sizeBytes: totalBytes }
      if (!isCompressed) {
        onProgress({ step: 'compress', doneBytes: 0, totalBytes })
        const smaller = await compress(blobs.path(given), signal)
        if (smaller !== undefined) kept = await blobs.addStream(smaller, { holder: ADDING, signal })
      }
      await shelf.add(label, {
        ...ref,
        archive: kept.digest,
        archiveBytes: kept.sizeBytes,
        addedMs: clock.now(),
      })
      if (kept.digest !== given) await this.#drop(given)
      return await this.#view(label, ref, signal)
    } finally {
      blobs.release(ADDING)
    }
  }

  async remove(name: string, signal: AbortSignal): Promise<{ readonly freedBytes: number }> {
    const { shelf, engineImages, blobs } = this.#parts
    const before = blobs.usedBytes
    const added = (await shelf.added()).get(name)
    const loaded = engineImages
      .list()
      .find((image) =>
        added === undefined
          ? image.name === name || (name.length >= 4 && image.configDigest.startsWith(name))
          : image.configDigest === added.configDigest,
      )
    const ref = added ?? loaded
    if (ref !== undefined && engineImages.isLeased(ref.configDigest)) {
      throw new CtdError('IMAGE_LEASED', `image ${name.slice(0, 80)} is in use by a job`, {
        hint: 'wait until it has ended: ctd ps, ctd status',
      })
    }
    let engineBytes = 0
    if (loaded !== undefined && (await engineImages.remove(loaded.configDigest, signal))) {
      engineBytes = loaded.sizeBytes
    }
    if (added !== undefined || loaded === undefined) {
      const { archive } = await shelf.remove(name)
      await this.#drop(archive)
    }
    return { freedBytes: before - blobs.usedBytes + engineBytes }
  }

  /** Removes an archive that is of no more use, unless somebody else holds it. */
  async #drop(archive: ReturnType<typeof parseBlobName>): Promise<void> {
    const { blobs } = this.#parts
    for (const holder of blobs.holdersOf(archive)) {
      if (holder === ADDING || holder.startsWith('upload/')) blobs.release(holder, archive)
    }
    if (!blobs.isHeld(archive)) await blobs.remove(archive)
  }

  async #view(name: string, ref: ImageRef, signal: AbortSignal): Promise<ImageView> {
    const { engineImages, runtime, shelf, blobs } = this.#parts
    const loaded = engineImages.list().find((image) => image.configDigest === ref.configDigest)
    const added = name === '' ? undefined : (await shelf.added()).get(name)
    const patience = AbortSignal.any([signal, AbortSignal.timeout(ENGINE_MS)])
    return {
      name,
      tag: ref.name,
      configDigest: ref.configDigest,
      manifestDigest: ref.manifestDigest,
      sizeBytes: ref.sizeBytes,
      // Without an engine it is in none.
      inEngine: await runtime.hasImage(ref, patience).catch(() => false),
      inStore: added !== undefined && blobs.has(added.archive),
      archiveBytes: added?.archiveBytes ?? null,
      isLoaded: loaded !== undefined,
      usedMs: loaded?.usedMs ?? null,
      isLeased: engineImages.isLeased(ref.configDigest),
    }
  }
}

/** `computetorrent/tool:1` → `tool`. */
function shortName(tag: string): string | undefined {
  const [, name] = /^(?:.*\/)?([a-z0-9][a-z0-9._-]*)(?::[^/]*)?$/.exec(tag) ?? []
  return name
}
