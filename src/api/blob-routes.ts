/** The endpoints of blobs and storage, each a few lines over `BlobPort`. */
import { pipeline, Readable, Transform } from 'node:stream'
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { parsePeerId } from '../wire/ids.js'
import { closeSignal, LINES, sendLines } from './answer-lines.js'
import * as schemas from './blob-schemas.js'
import type { DaemonPort } from './daemon-port.js'
import { API_LIMITS } from './limits.js'
import { emptyQuerySchema } from './schemas.js'
import { states } from './typed-app.js'
import type { TypedApp } from './typed-app.js'

const OCTETS = 'application/octet-stream'

export interface BlobRoutesOptions {
  /** Largest upload. */
  readonly blobBytes: number
}

export function registerBlobRoutes(
  app: TypedApp,
  port: DaemonPort,
  options: BlobRoutesOptions,
): void {
  registerUploadRoutes(app, port, options)
  registerHoldingRoutes(app, port)
  registerStorageRoutes(app, port)
}

function registerUploadRoutes(app: TypedApp, port: DaemonPort, options: BlobRoutesOptions): void {
  app.post(
    '/v1/blobs',
    { schema: { consumes: [OCTETS], response: { 201: states(schemas.addedSchema) } } },
    async (request, reply) => {
      const body: unknown = request.body
      if (!(body instanceof Readable)) {
        throw new CtdError('MEDIA_TYPE_UNSUPPORTED', `a blob is sent as ${OCTETS}`)
      }
      const announced = Number(request.headers['content-length'] ?? 0)
      if (announced > options.blobBytes) throw blobTooLarge(options.blobBytes)
      const stored = await port.blobs.add(limitBytes(body, options.blobBytes))
      return await reply.code(201).send({ ...stored })
    },
  )
  app.post(
    '/v1/folders',
    {
      bodyLimit: API_LIMITS.folderBodyBytes,
      schema: { body: schemas.folderSchema, response: { 201: states(schemas.folderResultSchema) } },
    },
    async (request, reply) => {
      const seen = new Set<string>()
      for (const { path } of request.body) {
        if (seen.has(path)) throw new CtdError('REQUEST_INVALID', `"${path}" comes twice`)
        seen.add(path)
      }
      return await reply.code(201).send({ ...(await port.blobs.addFolder(request.body)) })
    },
  )
  app.post(
    '/v1/blobs/link',
    { schema: { body: schemas.linkSchema, response: { 201: states(schemas.linkedSchema) } } },
    async (request, reply) => {
      const linked = await port.blobs.link(request.body.path, closeSignal(reply))
      return await reply.code(201).send({ ...linked })
    },
  )
}

function registerHoldingRoutes(app: TypedApp, port: DaemonPort): void {
  const params = schemas.blobParamsSchema
  const querystring = emptyQuerySchema
  app.get(
    '/v1/blobs',
    {
      schema: {
        querystring: schemas.blobListQuerySchema,
        response: { 200: states(z.array(schemas.blobViewSchema)) },
      },
    },
    async (request) => await port.blobs.list(request.query.all === 'true'),
  )
  app.get(
    '/v1/blobs/:digest',
    { schema: { params, querystring, response: { 200: states(schemas.blobDetailSchema) } } },
    async (request) => ({ ...(await port.blobs.view(request.params.digest)) }),
  )
  app.get(
    '/v1/blobs/:digest/bytes',
    { schema: { params, querystring, produces: [OCTETS] } },
    async (request, reply) =>
      await reply.type(OCTETS).send(await port.blobs.read(request.params.digest)),
  )
  app.post(
    '/v1/blobs/:digest/fetch',
    { schema: { params, body: schemas.fetchSchema, produces: [LINES] } },
    async (request, reply) => {
      const { from } = request.body
      const peer = from === undefined ? undefined : parsePeerId(from)
      return await sendLines(reply, (onProgress, signal) =>
        port.blobs.fetch(request.params.digest, peer, onProgress, signal),
      )
    },
  )
  app.put(
    '/v1/blobs/:digest/pin',
    {
      schema: {
        params,
        body: schemas.pinSchema,
        response: { 200: states(schemas.blobViewSchema) },
      },
    },
    async (request) => ({
      ...(await port.blobs.pin(request.params.digest, request.body.name ?? '')),
    }),
  )
  app.delete(
    '/v1/blobs/:digest/pin',
    { schema: { params, response: { 200: states(schemas.blobViewSchema) } } },
    async (request) => ({ ...(await port.blobs.unpin(request.params.digest)) }),
  )
  app.delete(
    '/v1/blobs/:digest',
    { schema: { params, response: { 200: states(schemas.removedSchema) } } },
    async (request) => await port.blobs.remove(request.params.digest),
  )
}

function registerStorageRoutes(app: TypedApp, port: DaemonPort): void {
  app.get(
    '/v1/storage',
    { schema: { querystring: emptyQuerySchema, response: { 200: states(schemas.storageSchema) } } },
    async () => ({ ...(await port.blobs.storage()) }),
  )
  app.post('/v1/storage/scrub', { schema: { produces: [LINES] } }, async (_request, reply) =>
    sendLines(reply, (onProgress, signal) => port.blobs.scrub(onProgress, signal)),
  )
}

/** The same bytes, ended by BLOB_TOO_LARGE once there are more than `maxBytes`. */
function limitBytes(bytes: Readable, maxBytes: number): Readable {
  let seen = 0
  const limited = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length
      if (seen > maxBytes) done(blobTooLarge(maxBytes))
      else done(null, chunk)
    },
  })
  // The reader of `limited` meets every error, this callback only keeps it from being thrown twice.
  pipeline(bytes, limited, () => undefined)
  return limited
}

function blobTooLarge(maxBytes: number): CtdError {
  return new CtdError('BLOB_TOO_LARGE', `an upload may have at most ${maxBytes} bytes`)
}
