/** The endpoints, each a few lines over the daemon's port. */
import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { parsePeerId } from '../wire/ids.js'
import { LINES, sendLines } from './answer-lines.js'
import { jobResults, jobStatus } from './answers.js'
import { registerBlobRoutes } from './blob-routes.js'
import type { DaemonPort } from './daemon-port.js'
import { registerImageRoutes } from './image-routes.js'
import { API_LIMITS } from './limits.js'
import * as schemas from './schemas.js'
import { states } from './typed-app.js'
import type { TypedApp } from './typed-app.js'

/** `POST /submit-job`, `GET /job-status?id=`, `GET /results?id=`. */
export function registerPlainRoutes(app: TypedApp, port: DaemonPort): void {
  app.post(
    '/submit-job',
    {
      schema: { body: schemas.submitJobSchema, response: { 202: states(schemas.acceptedSchema) } },
    },
    async (request, reply) => {
      const { id } = await port.submit({ kind: 'train', ...request.body })
      return await reply.code(202).send(accepted(id, `/job-status?id=${id}`, `/results?id=${id}`))
    },
  )
  app.get(
    '/job-status',
    {
      schema: {
        querystring: schemas.idQuerySchema,
        response: { 200: states(schemas.jobStatusSchema) },
      },
    },
    async (request, reply) =>
      jobStatus(await answer(reply, (signal) => port.job(request.query.id, signal))),
  )
  app.get(
    '/results',
    {
      schema: {
        querystring: schemas.idQuerySchema,
        response: { 200: states(schemas.resultsSchema) },
      },
    },
    async (request, reply) =>
      jobResults(await answer(reply, (signal) => port.job(request.query.id, signal))),
  )
}

export interface V1Options {
  readonly blobBytes: number
  readonly addEventReader: (response: ServerResponse) => void
}

/** Everything under `/v1`. */
export function registerV1Routes(app: TypedApp, port: DaemonPort, options: V1Options): void {
  registerJobRoutes(app, port)
  registerArtifactRoutes(app, port)
  registerNodeRoutes(app, port, options)
  registerBlobRoutes(app, port, options)
  registerImageRoutes(app, port)
  app.post(
    '/v1/calibration',
    { schema: { body: schemas.calibrationSchema, produces: [LINES] } },
    async (request, reply) =>
      await sendLines(reply, (onProgress, signal) =>
        port.calibration.calibrate(request.body, onProgress, signal),
      ),
  )
}

function registerJobRoutes(app: TypedApp, port: DaemonPort): void {
  const params = schemas.idParamsSchema
  const noQuery = schemas.emptyQuerySchema
  app.post(
    '/v1/jobs',
    {
      schema: { body: schemas.jobRequestSchema, response: { 202: states(schemas.acceptedSchema) } },
    },
    async (request, reply) => {
      const { id } = await port.submit(request.body)
      return await reply.code(202).send(accepted(id, `/v1/jobs/${id}`, `/results?id=${id}`))
    },
  )
  app.get(
    '/v1/jobs',
    { schema: { querystring: noQuery, response: { 200: states(z.array(schemas.jobSchema)) } } },
    async () => await port.jobs(),
  )
  app.get(
    '/v1/jobs/:id',
    { schema: { params, querystring: noQuery, response: { 200: states(schemas.jobSchema) } } },
    async (request, reply) => await answer(reply, (signal) => port.job(request.params.id, signal)),
  )
  app.post(
    '/v1/jobs/:id/cancel',
    { schema: { params, response: { 200: states(schemas.jobSchema) } } },
    async (request) => await port.cancel(request.params.id),
  )
  app.post(
    '/v1/jobs/:id/resume',
    { schema: { params, response: { 202: states(schemas.resumedSchema) } } },
    async (request, reply) => {
      const resumed = await answer(reply, (signal) => port.resume(request.params.id, signal))
      return await reply.code(202).send(resumed)
    },
  )
  app.get(
    '/v1/jobs/:id/logs',
    {
      schema: {
        params,
        querystring: noQuery,
        response: { 200: states(z.array(schemas.logLineSchema)) },
      },
    },
    async (request) => await port.logs(request.params.id),
  )
}

function registerArtifactRoutes(app: TypedApp, port: DaemonPort): void {
  const params = schemas.idParamsSchema
  const noQuery = schemas.emptyQuerySchema
  app.get(
    '/v1/jobs/:id/files',
    {
      schema: {
        params,
        querystring: noQuery,
        response: { 200: states(z.array(schemas.fileSchema)) },
      },
    },
    async (request, reply) =>
      await answer(reply, (signal) => port.files(request.params.id, signal)),
  )
  app.get(
    '/v1/jobs/:id/file',
    { schema: { params, querystring: schemas.fileQuerySchema, produces: [OCTETS] } },
    async (request, reply) => {
      const bytes = await answer(reply, (signal) =>
        port.readFile(request.params.id, request.query.path, signal),
      )
      return await reply.type(OCTETS).send(bytes)
    },
  )
  app.get(
    '/v1/jobs/:id/transcript',
    { schema: { params, querystring: noQuery, produces: [OCTETS] } },
    async (request, reply) => {
      const bytes = await answer(reply, (signal) => port.transcript(request.params.id, signal))
      return await reply.type(OCTETS).send(Buffer.from(bytes))
    },
  )
  app.get(
    '/v1/jobs/:id/evidence',
    { schema: { params, querystring: noQuery, produces: [OCTETS] } },
    async (request, reply) => {
      const bytes = await port.evidence(request.params.id)
      return await reply.type(OCTETS).send(Buffer.from(bytes))
    },
  )
}

function registerNodeRoutes(app: TypedApp, port: DaemonPort, options: V1Options): void {
  const querystring = schemas.emptyQuerySchema
  app.get(
    '/v1/peers',
    { schema: { querystring, response: { 200: states(z.array(schemas.peerSchema)) } } },
    async () => await port.peers(),
  )
  app.get(
    '/v1/peers/:peer/reputation',
    {
      schema: {
        params: schemas.peerParamsSchema,
        querystring: schemas.reputationQuerySchema,
        response: { 200: states(schemas.reputationSchema) },
      },
    },
    async (request) => await port.reputation(parsePeerId(request.params.peer), request.query.at),
  )
  app.get(
    '/v1/node',
    { schema: { querystring, response: { 200: states(schemas.nodeSchema) } } },
    async () => await port.node(),
  )
  app.get(
    '/v1/health',
    { schema: { querystring, response: { 200: states(schemas.healthSchema) } } },
    async () => ({ status: 'ok' as const }),
  )
  app.get(
    '/v1/events',
    { schema: { querystring, produces: ['text/event-stream'] } },
    async (_request, reply) => {
      options.addEventReader(reply.raw)
      reply.hijack()
    },
  )
}

const OCTETS = 'application/octet-stream'

function accepted(
  id: string,
  statusUrl: string,
  resultsUrl: string,
): z.infer<typeof schemas.acceptedSchema> {
  return { id, status: 'pending', statusUrl, resultsUrl }
}

/**
 * Runs a question to the network under a signal that ends with the client or the time limit.
 *
 * @throws CtdError ANSWER_TIMEOUT
 */
async function answer<T>(
  reply: FastifyReply,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const late = new CtdError('ANSWER_TIMEOUT', 'the peers that hold this did not answer in time', {
    hint: 'check the connection: ctd peers',
  })
  const timer = setTimeout(() => controller.abort(late), API_LIMITS.answerMs)
  reply.raw.once('close', () => {
    clearTimeout(timer)
    controller.abort()
  })
  try {
    return await ask(controller.signal)
  } catch (error) {
    throw controller.signal.reason === late ? late : error
  } finally {
    clearTimeout(timer)
  }
}
