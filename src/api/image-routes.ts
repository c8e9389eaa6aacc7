/** The endpoints of task images. */
import { z } from 'zod'
import { closeSignal, LINES, sendLines } from './answer-lines.js'
import * as schemas from './blob-schemas.js'
import type { DaemonPort } from './daemon-port.js'
import { emptyQuerySchema } from './schemas.js'
import { states } from './typed-app.js'
import type { TypedApp } from './typed-app.js'

export function registerImageRoutes(app: TypedApp, port: DaemonPort): void {
  const querystring = emptyQuerySchema
  app.get(
    '/v1/images',
    { schema: { querystring, response: { 200: states(z.array(schemas.imageViewSchema)) } } },
    async (_request, reply) => await port.images.list(closeSignal(reply)),
  )
  app.post(
    '/v1/images',
    { schema: { body: schemas.addImageSchema, produces: [LINES] } },
    async (request, reply) => {
      const { archive, name } = request.body
      return await sendLines(reply, (onProgress, signal) =>
        port.images.add(archive, name, onProgress, signal),
      )
    },
  )
  app.delete(
    '/v1/images/:name',
    {
      schema: {
        params: schemas.imageParamsSchema,
        response: { 200: states(schemas.imageRemovedSchema) },
      },
    },
    async (request, reply) => await port.images.remove(request.params.name, closeSignal(reply)),
  )
}
