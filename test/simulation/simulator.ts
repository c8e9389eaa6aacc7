/**
 * The simulator's entry: puts the loader in place before any production module is loaded. Import
 * this alone, and no module of `src` beside it.
 */
import { register } from 'node:module'
import { installAbort } from './primitives/abort.js'

installAbort()
register('./hooks.mjs', import.meta.url)

export const { runSchedule, LIVENESS_MS } = await import('./world.js')
export const { calmSchedule, mixedSchedule } = await import('./schedule.js')
export const { shrink } = await import('./shrink.js')
export const { EXPECTED } = await import('./coverage.js')
export type { Outcome } from './world.js'
export type { Schedule } from './schedule.js'
