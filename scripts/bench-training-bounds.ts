/** What the parts of the training benchmark share: the options, and promises kept or missed. */
import type { SetUp } from './setup.js'

export const SECTIONS = ['lm', 'classifier', 'busy', 'bert-base'] as const
export type Section = (typeof SECTIONS)[number]

export interface TrainingOptions {
  readonly sections: readonly Section[]
  readonly seeds: readonly string[]
  /** That the language model is trained on, all epochs. */
  readonly tokens: number
  /** That each replica of the busy run is trained on, all rounds. */
  readonly busyTokens: number
  /** Of the classifier. */
  readonly epochs: number
  readonly executors: number
  readonly json: boolean
}

export interface TrainingBench {
  readonly options: TrainingOptions
  /** For whatever a part writes. */
  readonly dir: string
  readonly setup: SetUp
  readonly say: (text: string) => void
  /** Every part adds its own. */
  readonly bounds: Bound[]
}

export interface Bound {
  readonly name: string
  readonly value: number
  readonly bound: string
  readonly isReached: boolean
}

export function atMost(name: string, value: number, bound: number): Bound {
  return { name, value, bound: `<= ${bound}`, isReached: value <= bound }
}

export function atLeast(name: string, value: number, bound: number): Bound {
  return { name, value, bound: `>= ${bound}`, isReached: value >= bound }
}

/** The lower one of an even count. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
}
