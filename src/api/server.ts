/**
 * The local door: the daemon's port as HTTP on a unix socket, described by OpenAPI. The three plain
 * endpoints and `/v1` beside them; every error is a problem document (RFC 9457).
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { CtdError, InvariantError } from '../errors.js'
import type { DaemonPort } from './daemon-port.js'
import { createEventStreams } from './event-stream.js'
import type { EventStreamOptions } from './event-stream.js'
import { API_LIMITS } from './limits.js'
import { problemOf } from './problem.js'
import { registerPlainRoutes, registerV1Routes } from './routes.js'
import { listenOnSocket } from './socket.js'
import { invalidError, validateShape } from './validation.js'

export interface ApiServerOptions {
  readonly socketPath: string
  /** Largest upload in bytes; default `API_LIMITS.blobBytes`. */
  readonly blobBytes?: number
  readonly events?: EventStreamOptions
  /** Told of errors that nobody expected; the client only learns that there was one. */
  readonly onUnexpectedError?: (error: unknown) => void
}

export interface ApiServer {
  /** Binds the socket. @throws CtdError as `listenOnSocket` does */
  start(): Promise<void>
  /** Ends event streams, closes every connection and removes the socket. Safe to call twice. */
  stop(): Promise<void>
}

/** Builds the API over a daemon; nothing is opened before `start`. */
export function createApiServer(port: DaemonPort, options: ApiServerOptions): ApiServer {
  const app = createApp(options)
  const streams = createEventStreams(port, options.events)
  const sockets = trackSockets(app)
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'ComputeTorrent',
        description: 'Local API of a daemon, served on its unix socket.',
        version: '1',
      },
    },
    transform: jsonSchemaTransform,
  })
  app.register(async (scope) => {
    const typed = scope.withTypeProvider<ZodTypeProvider>()
    registerPlainRoutes(typed, port)
    registerV1Routes(typed, port, {
      blobBytes: options.blobBytes ?? API_LIMITS.blobBytes,
      addEventReader: (response: ServerResponse) => streams.add(response),
    })
    typed.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  })
  let stopped: Promise<void> | undefined
  return {
    async start() {
      await app.ready()
      await listenOnSocket(app.server, options.socketPath)
    },
    stop() {
      stopped ??= (async () => {
        streams.close()
        const closed = new Promise<void>((resolve) => {
          // An error says that it was never open, which is what we want.
          app.server.close(() => resolve())
        })
        for (const socket of sockets) socket.destroy()
        await closed
        await app.close()
      })()
      return stopped
    },
  }
}

function createApp(options: ApiServerOptions): FastifyInstance {
  const app = Fastify({
    logger: false,
    bodyLimit: API_LIMITS.jsonBodyBytes,
    connectionTimeout: API_LIMITS.idleMs,
    requestTimeout: API_LIMITS.requestMs,
    routerOptions: { maxParamLength: 128 },
    http: { connectionsCheckingInterval: 2_000, headersTimeout: API_LIMITS.headersMs },
  })
  app.server.maxConnections = API_LIMITS.connections
  app.server.maxHeadersCount = API_LIMITS.headersPerRequest
  app.setValidatorCompiler(({ schema, httpPart }) => (value: unknown) => {
    if (!(schema instanceof z.ZodType)) throw new InvariantError('a route schema is no zod schema')
    const checked = validateShape(schema, value ?? {})
    if (checked.ok) return { value: checked.value }
    const code = httpPart === 'params' ? 'BAD_JOB_ID' : 'REQUEST_INVALID'
    return { error: invalidError(code, checked.fault) }
  })
  app.setSerializerCompiler(() => (value: unknown) => JSON.stringify(value))
  // Only JSON is parsed; uploads stay streams and reach their route unread.
  app.removeContentTypeParser('text/plain')
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => {
    done(null, payload)
  })
  app.addHook('preParsing', async (request, reply, payload) => {
    if (request.headers['content-type']?.startsWith('application/json') !== true) return payload
    const late = setTimeout(() => {
      payload.destroy(new CtdError('REQUEST_TIMEOUT', 'the request body came too slowly'))
    }, API_LIMITS.jsonBodyMs)
    const done = (): void => clearTimeout(late)
    payload.once('end', done).once('close', done)
    reply.raw.once('close', done)
    return payload
  })
  app.setErrorHandler(async (error, request, reply) => {
    const problem = problemOf(error)
    if (problem.status === 500) options.onUnexpectedError?.(error)
    if (!request.raw.readableEnded) reply.header('connection', 'close')
    return await reply.code(problem.status).type('application/problem+json').send(problem)
  })
  app.setNotFoundHandler(async (request, reply) => {
    const problem = problemOf(
      new CtdError(
        'ROUTE_NOT_FOUND',
        `no such endpoint: ${request.method} ${request.url.slice(0, 200)}`,
        {
          hint: 'the endpoints are listed at GET /openapi.json',
        },
      ),
    )
    return await reply.code(404).type('application/problem+json').send(problem)
  })
  return app
}

/** Open connections, so that stopping does not wait for idle ones. */
function trackSockets(app: FastifyInstance): ReadonlySet<Socket> {
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return sockets
}
