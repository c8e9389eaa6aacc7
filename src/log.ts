/** Structured logs: fields, not sentences. `error` needs an operator, `warn` may come to it. */
import { pino } from 'pino'

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug'
export const LOG_LEVELS: readonly LogLevel[] = ['silent', 'error', 'warn', 'info', 'debug']

export interface Log {
  error(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  info(fields: object, message?: string): void
  debug(fields: object, message?: string): void
}

/** Writes JSON lines to standard error, so that standard output stays data. */
export function createLog(level: LogLevel, room: string): Log {
  return pino({ level, base: { room } }, pino.destination({ dest: 2, sync: true }))
}

/** For simulations and tests, which have other ways to tell. */
export const silentLog: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
}
