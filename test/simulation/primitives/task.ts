/**
 * Stands in for the names of tasks and outcomes: the real ones, noted on the message that they are
 * of. Messages never change once they are made, and all simulated peers share them.
 */
import * as real from '../../../src/protocol/task.js'
import type { Digest, TaskId } from '../../../src/wire/ids.js'
import { mode } from './mode.js'

export * from '../../../src/protocol/task.js'

type TaskOf = Parameters<typeof real.taskIdOf>[0]
type RevealOf = Parameters<typeof real.outcomeOf>[0]

const taskIds = new WeakMap<TaskOf, TaskId>()
const outcomes = new WeakMap<RevealOf, Digest>()

export function taskIdOf(task: TaskOf): TaskId {
  if (mode.isReal) return real.taskIdOf(task)
  const known = taskIds.get(task)
  if (known !== undefined) return known
  const taskId = real.taskIdOf(task)
  taskIds.set(task, taskId)
  return taskId
}

export function outcomeOf(reveal: RevealOf): Digest {
  if (mode.isReal) return real.outcomeOf(reveal)
  const known = outcomes.get(reveal)
  if (known !== undefined) return known
  const outcome = real.outcomeOf(reveal)
  outcomes.set(reveal, outcome)
  return outcome
}
