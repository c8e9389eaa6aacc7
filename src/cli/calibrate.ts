/** `ctd calibrate`: whether a tolerance fits this machine, measured by real training. */
import type { CalibrationRequest, CalibrationView } from '../api/calibration-desk.js'
import type { TensorTolerance } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'
import type { CalibrationProgress } from '../executor/calibrate.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { interruptible } from './interrupt.js'
import { tensorTolerance } from './submit.js'
import { formatPairs } from './terminal.js'

export interface CalibrateFlags {
  readonly tolerance?: string
}

/** @throws CtdError PROFILE_INSEPARABLE, after the figures were printed */
export async function calibrateCommand(context: Context, flags: CalibrateFlags): Promise<number> {
  const asked = tensorTolerance(flags.tolerance ?? 'fp32')
  const view = await interruptible('run it again', (signal) => {
    let told = -1
    return context.client.work<CalibrationProgress, CalibrationView>(
      '/v1/calibration',
      requestOf(asked),
      ({ done, total }) => {
        if (done === told) return
        told = done
        context.tell(`segment ${done + 1} of ${total}`)
      },
      signal,
    )
  })
  if (context.json) context.printJson(view)
  else context.print(calibrationText(view))
  if (!view.ok) throw inseparable(view)
  return EXIT.ok
}

function requestOf({ tensors, tau }: TensorTolerance): CalibrationRequest {
  const profile = tensors === 'auto' ? 'fp32' : tensors
  return { tensors: profile, ...(tau === undefined ? {} : { tau }) }
}

/** The figures of a calibration. */
export function calibrationText(view: CalibrationView): string {
  const tolerances = (value: number): string => `${value.toPrecision(3)} of the tolerance`
  return formatPairs([
    ['profile', `${view.profile}, tolerance ${view.tau}`],
    ['machine', `${view.hardwareClass}; code paths ${view.codePaths.join(', ')}`],
    ['trained', view.models.join(', ')],
    ['honest', `at most ${tolerances(view.honest)} apart, ${view.honestPairs} pairs`],
    ...Object.entries(view.cheats).map(
      ([kind, nearest]) => [kind, `at least ${tolerances(nearest)} away`] as const,
    ),
    ['fits', `tolerances from ${view.tauLeast} to ${view.tauMost}`],
  ])
}

function inseparable({ profile, tau, tauLeast, tauMost }: CalibrationView): CtdError {
  const why =
    tau > tauMost
      ? 'cheats are too near: a twentieth of the steps could be left out, or an edit made, unseen'
      : 'honest replicas on this machine drift too far apart'
  const hint =
    tauLeast <= tauMost
      ? `use a tolerance from ${tauLeast} to ${tauMost}: --tolerance ${profile}:${tauMost}`
      : 'no tolerance fits; train exactly, without --tolerance'
  const message = `${profile} with ${tau} cannot tell honest from dishonest here: ${why}`
  return new CtdError('PROFILE_INSEPARABLE', message, { hint })
}
