/**
 * Images that this daemon brought into the engine for others' jobs: remembered, kept within a
 * budget, the longest unused removed first. What the owner loaded is never touched, nor what a job
 * or a container needs.
 */
import type { Clock } from '../clock.js'
import { CtdError, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { ImageRef } from './container-runtime.js'

export interface LoadedImage extends ImageRef {
  readonly loadedMs: number
  readonly usedMs: number
}

/** Where loaded images are written down, by config digest; a space of the daemon's database. */
export interface ImageLedger {
  put(configDigest: string, text: string): Promise<void>
  delete(configDigest: string): Promise<void>
  list(limit: number): Promise<ReadonlyArray<readonly [string, string]>>
}

export interface EngineImagesComponents {
  readonly ledger: ImageLedger
  readonly clock: Clock
  readonly log: Log
  /** Whether a job that runs or waits here needs the image. */
  readonly isLeased: (configDigest: string) => boolean
}

export interface EngineImagesOptions {
  readonly budgetBytes: number
}

/**
 * Takes an image out of the engine.
 * @returns false where the engine would not, because a container or another name needs it
 */
export type RemoveImage = (image: ImageRef, signal: AbortSignal) => Promise<boolean>

const IMAGES_MAX = 4096
/** How exactly the last use is written down. */
const USED_STEP_MS = 60_000

export class EngineImages {
  readonly #components: EngineImagesComponents
  readonly #budgetBytes: number
  readonly #images = new Map<string, LoadedImage>()
  readonly #running = new Map<string, number>()
  #remove: RemoveImage = () => Promise.resolve(false)

  constructor(components: EngineImagesComponents, options: EngineImagesOptions) {
    this.#components = components
    this.#budgetBytes = options.budgetBytes
  }

  /** The runtime says how it removes images. */
  connect(remove: RemoveImage): void {
    this.#remove = remove
  }

  async load(): Promise<void> {
    for (const [key, text] of await this.#components.ledger.list(IMAGES_MAX)) {
      const image = parseLoaded(key, text)
      if (image !== undefined) this.#images.set(key, image)
    }
  }

  get budgetBytes(): number {
    return this.#budgetBytes
  }

  get usedBytes(): number {
    return [...this.#images.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  /** The longest unused first. */
  list(): readonly LoadedImage[] {
    return [...this.#images.values()].sort((a, b) => a.usedMs - b.usedMs)
  }

  isLeased(configDigest: string): boolean {
    return this.#running.has(configDigest) || this.#components.isLeased(configDigest)
  }

  /** Counts a container that is about to run; the returned function ends it. */
  async use(configDigest: string): Promise<() => void> {
    this.#running.set(configDigest, (this.#running.get(configDigest) ?? 0) + 1)
    const image = this.#images.get(configDigest)
    const usedMs = this.#components.clock.now()
    if (image !== undefined && usedMs - image.usedMs >= USED_STEP_MS) {
      await this.#write({ ...image, usedMs })
    }
    return () => {
      const count = (this.#running.get(configDigest) ?? 1) - 1
      if (count === 0) this.#running.delete(configDigest)
      else this.#running.set(configDigest, count)
    }
  }

  /**
   * Makes room in the budget for an image that is to be loaded.
   * @throws CtdError IMAGE_BUDGET where nothing more may go
   */
  async makeRoom(image: ImageRef, signal: AbortSignal): Promise<void> {
    for (const old of this.list()) {
      if (this.usedBytes + image.sizeBytes <= this.#budgetBytes) return
      if (old.configDigest === image.configDigest || this.isLeased(old.configDigest)) continue
      if (!(await this.#remove(old, signal))) continue
      await this.#forget(old.configDigest)
      const { name, configDigest, sizeBytes } = old
      this.#components.log.info({ image: name, configDigest, sizeBytes }, 'image removed')
    }
    if (this.usedBytes + image.sizeBytes <= this.#budgetBytes) return
    throw new CtdError(
      'IMAGE_BUDGET',
      `image ${image.name} has ${image.sizeBytes} bytes; with those in use it exceeds the budget`,
      {
        hint: 'raise imageMiB, or wait until other jobs have ended: ctd image ls',
        fields: { usedBytes: this.usedBytes, budgetBytes: this.#budgetBytes },
      },
    )
  }

  async onLoaded(image: ImageRef): Promise<void> {
    const nowMs = this.#components.clock.now()
    const { name, configDigest, manifestDigest, diffIds, sizeBytes } = image
    const ref = { name, configDigest, manifestDigest, diffIds: [...diffIds], sizeBytes }
    await this.#write({ ...ref, loadedMs: nowMs, usedMs: nowMs })
  }

  /**
   * Removes one of ours from the engine, for its owner.
   * @returns whether it was one of ours and is gone
   * @throws CtdError IMAGE_LEASED
   */
  async remove(configDigest: string, signal: AbortSignal): Promise<boolean> {
    const image = this.#images.get(configDigest)
    if (image === undefined) return false
    const isFree = !this.isLeased(configDigest) && (await this.#remove(image, signal))
    if (!isFree) {
      throw new CtdError('IMAGE_LEASED', `image ${image.name} is in use by a job or a container`, {
        hint: 'wait until it has ended: ctd status, ctd ps',
      })
    }
    await this.#forget(configDigest)
    return true
  }

  async #write(image: LoadedImage): Promise<void> {
    this.#images.set(image.configDigest, image)
    const { configDigest, ...rest } = image
    try {
      await this.#components.ledger.put(configDigest, JSON.stringify(rest))
    } catch (error) {
      // Not written: after a restart it counts as the owner's, and stays.
      this.#components.log.warn({ configDigest, detail: errorMessage(error) }, 'image not recorded')
    }
  }

  async #forget(configDigest: string): Promise<void> {
    this.#images.delete(configDigest)
    await this.#components.ledger.delete(configDigest)
  }
}

/** Our own record; one that is damaged is forgotten, and its image then counts as the owner's. */
function parseLoaded(configDigest: string, text: string): LoadedImage | undefined {
  try {
    const image = Object(JSON.parse(text)) as Partial<LoadedImage>
    const { name, manifestDigest, diffIds, sizeBytes, loadedMs, usedMs } = image
    const isWhole =
      typeof name === 'string' &&
      typeof manifestDigest === 'string' &&
      Array.isArray(diffIds) &&
      typeof sizeBytes === 'number' &&
      typeof loadedMs === 'number' &&
      typeof usedMs === 'number'
    if (!isWhole) return undefined
    return { name, configDigest, manifestDigest, diffIds, sizeBytes, loadedMs, usedMs }
  } catch {
    return undefined
  }
}
