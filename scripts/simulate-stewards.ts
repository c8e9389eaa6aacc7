/** `npm run simulate -- --stewards`: the stewards' law over a bad network, in figures. */
import { captureBoundPpm, simulateCapture } from '../test/simulation/stewards-capture.js'
import { simulateStewards } from '../test/simulation/stewards.js'

const SHARE = 0.2
/** One in so many schedules has five of seven stewards captured. */
const CAPTURED_EVERY = 10

export function showStewards(options: {
  readonly seed: string
  readonly schedules: number
  readonly isJson: boolean
}): void {
  const { seed, schedules, isJson } = options
  const startedMs = performance.now()
  const played = simulateStewards({ schedules, seed })
  const seconds = (performance.now() - startedMs) / 1000
  const captured = simulateStewards({
    schedules: Math.ceil(schedules / CAPTURED_EVERY),
    seed,
    captured: true,
  })
  const capture = simulateCapture({
    seed,
    peers: 100,
    share: SHARE,
    draws: 2000,
    grinders: 20,
    tries: 215,
  })
  const { roles, failures, ...counts } = played
  console.log(`seed ${seed}: ${schedules} schedules in ${seconds.toFixed(1)} s`)
  for (const [what, count] of Object.entries({ ...counts, ...roles })) {
    if (count > 0) console.log(`  ${String(count).padStart(9)}  ${what}`)
  }
  console.log(
    `\nfive of seven captured: ${captured.omissions} omissions in ${captured.captured} ` +
      `schedules, ${captured.omissionsProven} proven`,
  )
  const percent = (part: number, of: number): string => `${((100 * part) / of).toFixed(2)} %`
  console.log(
    `capture with ${100 * SHARE} % of the peers: ${percent(capture.withBeacon, capture.draws)} ` +
      `of draws with a beacon (luck: ${percent(captureBoundPpm(SHARE), 1_000_000)}), ` +
      `${percent(capture.withoutBeacon, capture.draws)} without one; ` +
      `${capture.grindersCaptured} of ${capture.grinders} that try 215 jobs within one epoch`,
  )
  const all = [...failures, ...captured.failures]
  for (const failure of all) console.log(`FAILED ${failure}`)
  if (all.length > 0) process.exitCode = 1
  if (isJson) console.log(JSON.stringify({ seed, seconds, played, captured, capture }))
}
