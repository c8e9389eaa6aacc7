import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { taskIdOf } from '../../src/protocol/task.js'
import { fromHex, utf8 } from '../../src/wire/ids.js'

interface TaskVector {
  readonly name: string
  readonly jobId: string
  readonly batch: number
  readonly slot: number
  readonly inputs: readonly { readonly name: string; readonly digest: string }[]
  readonly round?: string
  readonly taskId: string
}

const vectors: { readonly valid: readonly TaskVector[]; readonly invalid: readonly TaskVector[] } =
  JSON.parse(readFileSync(new URL('task.json', import.meta.url), 'utf8'))

/** Stands here so that no rewrite of the file passes. */
const NO_INPUTS_ID = '0da98e298f37f6eb68236099958e8dce52bbb14e5e510a3d416e708341fd56d8'

function idOf({ jobId, batch, slot, inputs, round = '' }: TaskVector): string {
  const digests = inputs.map(({ name, digest }) => ({ name, digest: fromHex(digest) }))
  return taskIdOf({ jobId: fromHex(jobId), batch, slot, inputs: digests, round: utf8(round) })
}

describe('vectors of the task id', () => {
  it('name a task as ever', () => {
    assert.equal(vectors.valid[0]?.taskId, NO_INPUTS_ID)
  })

  for (const each of vectors.valid) {
    it(`names a task with ${each.name}`, () => assert.equal(idOf(each), each.taskId))
  }

  for (const each of vectors.invalid) {
    it(`gives another name for ${each.name}`, () => assert.notEqual(idOf(each), each.taskId))
  }
})
