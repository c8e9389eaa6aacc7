/** What the doors need of a calibration: a profile in, figures out; one at a time. */
import type { Calibration, CalibrationProgress } from '../executor/calibrate.js'
import { CtdError } from '../errors.js'
import { TENSOR_PROFILES } from '../protocol/tensors.js'
import type { TensorProfileName } from '../protocol/tensors.js'

export interface CalibrationRequest {
  readonly tensors: TensorProfileName
  /** Another relative distance than the profile's. */
  readonly tau?: number
}

/** Distances are relative to the size of an update. */
export interface CalibrationView {
  readonly profile: TensorProfileName
  readonly tau: number
  /** Whether the tolerance tells honest replicas from cheats, with the margins. */
  readonly ok: boolean
  readonly hardwareClass: string
  readonly codePaths: readonly string[]
  readonly models: readonly string[]
  readonly honestPairs: number
  /** Of the farthest honest pair, in tolerances. */
  readonly honest: number
  /** Of the nearest result of each kind of cheat, in tolerances. */
  readonly cheats: Readonly<Record<string, number>>
  /** Least tolerance that honest replicas ask for here, and the largest that hides no cheat. */
  readonly tauLeast: number
  readonly tauMost: number
}

export interface CalibrationPort {
  /** @throws CtdError CALIBRATION_BUSY, and those of the container */
  calibrate(
    request: CalibrationRequest,
    onProgress: (progress: CalibrationProgress) => void,
    signal: AbortSignal,
  ): Promise<CalibrationView>
}

export interface CalibrationDeskComponents {
  readonly hardwareClass: () => string
  readonly calibrate: (
    asked: { readonly profile: TensorProfileName; readonly tauPpm: bigint },
    onProgress: (progress: CalibrationProgress) => void,
    signal: AbortSignal,
  ) => Promise<Calibration>
}

const MILLION = 1e6

export class CalibrationDesk implements CalibrationPort {
  readonly #components: CalibrationDeskComponents
  #isBusy = false

  constructor(components: CalibrationDeskComponents) {
    this.#components = components
  }

  async calibrate(
    { tensors: profile, tau }: CalibrationRequest,
    onProgress: (progress: CalibrationProgress) => void,
    signal: AbortSignal,
  ): Promise<CalibrationView> {
    if (this.#isBusy) {
      throw new CtdError('CALIBRATION_BUSY', 'a calibration is under way on this daemon', {
        hint: 'wait for its end, some minutes',
      })
    }
    this.#isBusy = true
    try {
      const own: bigint = TENSOR_PROFILES[profile].tauPpm
      const tauPpm = tau === undefined ? own : BigInt(Math.round(tau * MILLION))
      const found = await this.#components.calibrate({ profile, tauPpm }, onProgress, signal)
      const share = (value: bigint): number => Number(value) / MILLION
      const { ok, codePaths, models, honestPairs } = found
      return {
        ...{ profile, tau: share(tauPpm), ok, codePaths, models, honestPairs },
        hardwareClass: this.#components.hardwareClass(),
        honest: share(found.honest),
        cheats: Object.fromEntries(
          Object.entries(found.cheats).map(([kind, distance]) => [kind, share(distance)]),
        ),
        tauLeast: share(found.tauLeastPpm),
        tauMost: share(found.tauMostPpm),
      }
    } finally {
      this.#isBusy = false
    }
  }
}
