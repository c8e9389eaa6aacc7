/** Turns a failed schema check into one error that names the place, the fault and the way out. */
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { didYouMean } from './did-you-mean.js'

export interface Fault {
  /** Keys and indices from the root to the fault; the unknown key itself is the last one. */
  readonly path: ReadonlyArray<string | number>
  readonly message: string
  readonly suggestion: string | undefined
}

/**
 * Checks a value and names its first fault: unknown keys before missing ones, because a misspelt
 * key shows up as both.
 *
 * @returns the parsed value, or the fault that best explains the rest
 */
export function validateShape<T>(
  schema: z.ZodType<T>,
  value: unknown,
): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: Fault } {
  const parsed = schema.safeParse(value)
  if (parsed.success) return { ok: true, value: parsed.data }
  const issues = parsed.error.issues
  const issue = issues.find((one) => one.code === 'unrecognized_keys') ?? issues[0]
  if (issue === undefined)
    return { ok: false, fault: { path: [], message: 'not valid', suggestion: undefined } }
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)))
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? ''
    return {
      ok: false,
      fault: {
        path: [...path, key],
        message: `unknown key "${key.slice(0, 80)}"`,
        suggestion: didYouMean(key, knownKeys(schema, value, path)),
      },
    }
  }
  const missing = issue.code === 'invalid_type' && valueAt(value, path) === undefined
  const message = missing ? 'is missing' : lowerFirst(issue.message)
  return { ok: false, fault: { path, message, suggestion: undefined } }
}

/** `inputs[0].source: must be …`, in one line. */
export function faultText(fault: Fault): string {
  const place = fault.path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join('')
  return fault.message.startsWith('unknown key') || place === ''
    ? fault.message + (fault.path.length > 1 ? ` in ${place.slice(0, place.lastIndexOf('.'))}` : '')
    : `${place}: ${fault.message}`
}

/** The error a request or a job file is refused with. */
export function invalidError(code: string, fault: Fault, hint?: string): CtdError {
  const meant = fault.suggestion === undefined ? hint : `did you mean "${fault.suggestion}"?`
  return new CtdError(code, faultText(fault), {
    ...(meant === undefined ? {} : { hint: meant }),
    fields: {
      path: fault.path,
      ...(fault.suggestion === undefined ? {} : { suggestion: fault.suggestion }),
    },
  })
}

/** Keys that the schema knows at a place; empty where it is no object. */
function knownKeys(
  schema: unknown,
  value: unknown,
  path: ReadonlyArray<string | number>,
): string[] {
  const bare = unwrap(schema)
  if (bare instanceof z.ZodDiscriminatedUnion) {
    const tag = valueAt(value, [bare.def.discriminator])
    for (const option of bare.options) {
      if (!(option instanceof z.ZodObject)) continue
      const literal: unknown = option.shape[bare.def.discriminator]
      if (literal instanceof z.ZodLiteral && literal.value === tag) {
        return knownKeys(option, value, path)
      }
    }
    return []
  }
  const [head, ...rest] = path
  if (head === undefined) return bare instanceof z.ZodObject ? Object.keys(bare.shape) : []
  const inner = valueAt(value, [head])
  if (bare instanceof z.ZodObject) return knownKeys(bare.shape[head], inner, rest)
  if (bare instanceof z.ZodArray) return knownKeys(bare.element, inner, rest)
  return []
}

function unwrap(schema: unknown): unknown {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodExactOptional ||
    schema instanceof z.ZodReadonly
  ) {
    return unwrap(schema.unwrap())
  }
  return schema
}

function valueAt(value: unknown, path: ReadonlyArray<string | number>): unknown {
  let at = value
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined
    at = Reflect.get(at, part)
  }
  return at
}

function lowerFirst(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1)
}
