/**
 * Entry point of the worker thread that runs one built-in task.
 *
 * `workerData` is a `BuiltinRequest`; the worker posts one `BuiltinReply` and ends. Cancelling is
 * `worker.terminate()`: the task has no effect outside its output folder.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { errorCode, errorMessage, CtdError, InvariantError } from '../errors.js'
import { runBuiltin, type BuiltinInput } from './builtin.js'

export interface BuiltinRequest {
  readonly name: string
  readonly params: unknown
  readonly inputs: readonly BuiltinInput[]
  readonly outDir: string
}

export type BuiltinReply =
  | { readonly ok: true }
  | {
      readonly ok: false
      readonly code: string
      readonly message: string
      readonly hint: string | undefined
    }

async function reply(request: BuiltinRequest): Promise<BuiltinReply> {
  try {
    await runBuiltin(request.name, request.params, request.inputs, request.outDir)
    return { ok: true }
  } catch (error) {
    const hint = error instanceof CtdError ? error.hint : undefined
    return { ok: false, code: errorCode(error), message: errorMessage(error), hint }
  }
}

if (parentPort === null) throw new InvariantError('builtin-worker runs as a worker thread only')
const request: BuiltinRequest = workerData
parentPort.postMessage(await reply(request))
