/** Images in the engine: is one there, and how does it get there. */
import { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { CtdError } from '../errors.js'
import { CONTAINER_LIMITS as LIMITS, type ImageRef } from './container-runtime.js'
import { answer, isConflict, isGone } from './docker-errors.js'
import { guardImageArchive } from './image-archive-guard.js'
import { unpacked } from './image-inspect.js'

/** The engine's id of an image, if it is this image down to its layers. */
export async function findImage(
  docker: Docker,
  image: ImageRef,
  signal: AbortSignal,
): Promise<string | undefined> {
  // Classic stores know an image by its config, containerd stores by its manifest.
  for (const digest of [image.configDigest, image.manifestDigest]) {
    const id = `sha256:${digest}`
    const inspect = (): Promise<Docker.ImageInspectInfo | undefined> =>
      docker
        .getImage(id)
        .inspect()
        .catch((error: unknown) => {
          if (isGone(error)) return undefined
          throw error
        })
    const found = await answer(inspect, signal)
    if (found === undefined || found.Id !== id) continue
    const layers = found.RootFS.Layers ?? []
    const wanted = image.diffIds.map((diffId) => `sha256:${diffId}`)
    if (layers.length === wanted.length && wanted.every((layer, i) => layers[i] === layer))
      return id
  }
  return undefined
}

/**
 * Loads an archive, plain or compressed with zstd, and checks that it brought the image. The bytes
 * go straight into the engine; nothing is written on the way.
 *
 * @throws CtdError IMAGE_ARCHIVE_REFUSED, IMAGE_LOAD_FAILED, IMAGE_DIGEST_MISMATCH
 */
export async function loadImage(
  docker: Docker,
  image: ImageRef,
  archive: Readable,
  signal: AbortSignal,
): Promise<void> {
  const broken = new AbortController()
  const { bytes } = await unpacked(archive, image.sizeBytes)
  const guarded = Readable.from(guardImageArchive(bytes, image), { objectMode: false })
  // dockerode does not look at the errors of what it sends: they must end its request.
  guarded.on('error', (error) => broken.abort(error))
  const abortSignal = AbortSignal.any([signal, broken.signal])
  try {
    const body = await answer(
      () => docker.loadImage(guarded, { quiet: '1', abortSignal }),
      abortSignal,
    )
    await readLoadAnswer(body, abortSignal)
  } catch (error) {
    if (broken.signal.aborted && !signal.aborted) throw broken.signal.reason
    throw error
  } finally {
    guarded.destroy()
    archive.destroy()
  }
  if ((await findImage(docker, image, signal)) === undefined) {
    throw new CtdError(
      'IMAGE_DIGEST_MISMATCH',
      `the archive does not hold image ${image.name} as pinned`,
      {
        fields: { configDigest: image.configDigest },
      },
    )
  }
}

/**
 * Takes an image out of the engine.
 *
 * @returns false where a container, or a name that somebody else gave it, keeps it there
 */
export async function removeImage(
  docker: Docker,
  image: ImageRef,
  signal: AbortSignal,
): Promise<boolean> {
  const id = await findImage(docker, image, signal)
  if (id === undefined) return true
  const remove = (): Promise<boolean> =>
    docker
      .getImage(id)
      .remove({ force: false })
      .then(
        () => true,
        (error: unknown) => {
          if (isGone(error)) return true
          if (isConflict(error)) return false
          throw error
        },
      )
  return answer(remove, signal)
}

/** The engine answers 200 and then writes its errors into the body. */
async function readLoadAnswer(body: NodeJS.ReadableStream, signal: AbortSignal): Promise<void> {
  let text = ''
  for await (const chunk of body) {
    signal.throwIfAborted()
    text = (text + String(chunk)).slice(-LIMITS.logTailBytes)
  }
  for (const line of text.split('\n')) {
    const found = /"error"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(line)?.[1]
    if (found !== undefined) {
      throw new CtdError(
        'IMAGE_LOAD_FAILED',
        `the engine could not load the image: ${String(JSON.parse(found))}`,
      )
    }
  }
}
