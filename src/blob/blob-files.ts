/**
 * Where the files of a blob folder are, and what a process that starts finds in it. A blob is
 * `<2 hex>/<digest>` and `<digest>.manifest` beside it; the manifest comes last and makes it exist.
 */
import { rmSync } from 'node:fs'
import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseDigest } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import type { BlobEntry } from './blob-index.js'
import { parseManifest } from './manifest.js'
import { PartialBlob } from './partial-blob.js'

const MANIFEST_SUFFIX = '.manifest'
const TEMPORARY = 'tmp'
const PARTIAL = 'partial'
const ROTTEN = 'rotten'
const DIGEST_NAME = /^[0-9a-f]{64}$/

/** What was found; blobs in order of their age. */
export interface FoundFiles {
  readonly blobs: readonly BlobEntry[]
  readonly partials: readonly BlobEntry[]
  readonly rotten: readonly BlobEntry[]
}

export class BlobFiles {
  readonly #dir: string
  #nextTemporary = 0

  constructor(dir: string) {
    this.#dir = dir
  }

  blob(digest: Digest): string {
    return join(this.#dir, digest.slice(0, 2), digest)
  }

  manifest(digest: Digest): string {
    return this.blob(digest) + MANIFEST_SUFFIX
  }

  partial(digest: Digest): string {
    return join(this.#dir, PARTIAL, digest)
  }

  rotten(digest: Digest): string {
    return join(this.#dir, ROTTEN, digest)
  }

  /** A name that no other file has. */
  temporary(): string {
    this.#nextTemporary += 1
    return join(this.#dir, TEMPORARY, String(this.#nextTemporary))
  }

  async remove(digest: Digest): Promise<void> {
    await rm(this.manifest(digest), { force: true })
    await rm(this.blob(digest), { force: true })
  }

  removeSync(digest: Digest): void {
    rmSync(this.manifest(digest), { force: true })
    rmSync(this.blob(digest), { force: true })
  }

  /** Creates the folders; what a crash left half-written goes. */
  async prepare(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 })
    await rm(join(this.#dir, TEMPORARY), { recursive: true, force: true })
    for (const name of [TEMPORARY, PARTIAL, ROTTEN]) {
      await mkdir(join(this.#dir, name), { recursive: true })
    }
  }

  /** Finds the blobs whose file has the size its manifest says; removes what is none. */
  async scan(): Promise<FoundFiles> {
    const found: Array<BlobEntry & { readonly usedMs: number }> = []
    for (const shard of await readdir(this.#dir)) {
      if (!/^[0-9a-f]{2}$/.test(shard)) continue
      for (const name of await readdir(join(this.#dir, shard))) {
        if (DIGEST_NAME.test(name)) found.push(...(await this.#scanBlob(parseDigest(name))))
        else if (!(await this.#hasBlobOf(shard, name))) {
          await rm(join(this.#dir, shard, name), { force: true })
        }
      }
    }
    return {
      // What was used in the earlier process is not known; what came first goes first.
      blobs: found.sort((a, b) => a.usedMs - b.usedMs),
      partials: await this.#scanPartials(),
      rotten: await this.#scanRotten(),
    }
  }

  async #scanBlob(digest: Digest): Promise<ReadonlyArray<BlobEntry & { readonly usedMs: number }>> {
    const { size, ctimeMs } = await stat(this.blob(digest))
    const bytes = await readFile(this.manifest(digest)).catch(() => undefined)
    const whole = bytes !== undefined && isManifestOf(new Uint8Array(bytes), digest, size)
    if (whole) return [{ digest, sizeBytes: size, usedMs: ctimeMs }]
    await rm(this.blob(digest), { force: true })
    await rm(this.manifest(digest), { force: true })
    return []
  }

  /** Whether a manifest has its blob beside it: a crash while removing may have left it alone. */
  async #hasBlobOf(shard: string, name: string): Promise<boolean> {
    if (!name.endsWith(MANIFEST_SUFFIX)) return true // Not ours to judge.
    const blob = join(this.#dir, shard, name.slice(0, -MANIFEST_SUFFIX.length))
    return (await stat(blob).catch(() => undefined)) !== undefined
  }

  async #scanRotten(): Promise<readonly BlobEntry[]> {
    const found: BlobEntry[] = []
    for (const digest of await this.#digestsIn(ROTTEN)) {
      const { size: sizeBytes } = await stat(this.rotten(digest))
      found.push({ digest, sizeBytes })
    }
    return found
  }

  async #scanPartials(): Promise<readonly BlobEntry[]> {
    const found: BlobEntry[] = []
    for (const digest of await this.#digestsIn(PARTIAL)) {
      const manifest = await PartialBlob.readManifest(this.partial(digest), digest)
      if (manifest === undefined) await PartialBlob.remove(this.partial(digest))
      else found.push({ digest, sizeBytes: manifest.sizeBytes })
    }
    return found
  }

  async #digestsIn(folder: string): Promise<readonly Digest[]> {
    const names = await readdir(join(this.#dir, folder))
    return names.filter((name) => DIGEST_NAME.test(name)).map(parseDigest)
  }
}

function isManifestOf(bytes: Uint8Array, digest: Digest, sizeBytes: number): boolean {
  try {
    const manifest = parseManifest(bytes)
    return manifest.digest === digest && manifest.sizeBytes === sizeBytes
  } catch {
    // A torn manifest is removed like a missing one.
    return false
  }
}
