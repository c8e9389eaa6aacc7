/** The server as the routes see it: what comes in is typed by its schema. */
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { z } from 'zod'

export type TypedApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>

/**
 * A schema that only describes an answer in the OpenAPI document. Its type is forgotten on purpose:
 * the daemon's port already types the answer, and may add fields without touching the schema.
 */
export function states(schema: z.ZodType<unknown>): z.ZodType<unknown> {
  return schema
}
