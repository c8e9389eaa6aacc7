/** Finds what of a failing schedule is enough to make it fail. */
import { CALM } from './schedule.js'
import type { Schedule } from './schedule.js'
import { runSchedule } from './world.js'
import type { RunOptions } from './world.js'

const PEERS_MIN = 7
const NO_SKEWS: Schedule['skews'] = []

/**
 * Leaves out one thing after the other while the same invariant still breaks. Every step makes the
 * schedule smaller, so it ends; a schedule that breaks nothing is given back as it is.
 */
export async function shrink(
  schedule: Schedule,
  options: Pick<RunOptions, 'defect'> = {},
): Promise<Schedule> {
  const broken = async (one: Schedule): Promise<string | undefined> =>
    (await runSchedule(one, options)).violations[0]?.invariant
  const invariant = await broken(schedule)
  if (invariant === undefined) return schedule
  let smallest = schedule
  for (let isShrinking = true; isShrinking;) {
    isShrinking = false
    for (const candidate of smallerThan(smallest)) {
      if ((await broken(candidate)) !== invariant) continue
      smallest = candidate
      isShrinking = true
      break
    }
  }
  return smallest
}

function smallerThan(one: Schedule): Schedule[] {
  return [
    ...one.faults.map((_, i) => ({ ...one, faults: one.faults.filter((__, j) => j !== i) })),
    ...(one.jobs.length > 1 ? one.jobs.map((job) => ({ ...one, jobs: [job] })) : []),
    ...(['slow', 'loss', 'gossipLoss', 'duplication'] as const).flatMap((key) =>
      one.network[key] === 0 ? [] : [{ ...one, network: { ...one.network, [key]: CALM[key] } }],
    ),
    ...(['failure', 'hang'] as const).flatMap((key) =>
      one[key] === 0 ? [] : [{ ...one, [key]: 0 }],
    ),
    ...(one.skews.length > 0 ? [{ ...one, skews: NO_SKEWS }] : []),
    ...one.behaviours.flatMap((behaviour, i) =>
      behaviour === 'honest'
        ? []
        : [{ ...one, behaviours: one.behaviours.with(i, 'honest' as const) }],
    ),
    ...(hasIdlePeer(one) ? [{ ...one, behaviours: one.behaviours.slice(0, -1) }] : []),
    ...one.jobs.flatMap((job, i) =>
      job.tasks === 1 ? [] : [{ ...one, jobs: one.jobs.with(i, { ...job, tasks: job.tasks - 1 }) }],
    ),
  ]
}

/** Whether the last peer can go: nothing names it. */
function hasIdlePeer({ behaviours, established, jobs, faults }: Schedule): boolean {
  const last = behaviours.length - 1
  const isNamed =
    established.includes(last) ||
    jobs.some(({ peer }) => peer === last) ||
    faults.some((fault) => (fault.kind === 'partition' ? fault.side : [fault.peer]).includes(last))
  return behaviours.length > PEERS_MIN && !isNamed
}
