/** Answers what other daemons ask over a direct stream. */
import { CtdError, errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { openAs } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import { Bundle, Request, Response } from '../wire/generated/control.js'
import { toHex } from '../wire/ids.js'
import type { JobId, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { answerEvidence } from './evidence-desk.js'
import type { EvidenceParts } from './evidence-desk.js'
import type { Inbox } from './inbox.js'

/** What a steward answers to a heartbeat. */
export interface HeartbeatAnswer {
  readonly isAwaited: boolean
  readonly missed: readonly Uint8Array[]
}

export interface ControlComponents {
  readonly network: string
  readonly log: Log
  readonly inbox: Inbox
  readonly onHeartbeat: (heartbeat: Opened<'heartbeat'>) => HeartbeatAnswer
  /** State, result, transcript of a job that this peer knows, as bytes; undefined for others. */
  readonly jobAnswer: (
    method: string,
    jobId: JobId,
    from: PeerId,
  ) => Promise<Uint8Array | undefined>
  readonly evidence?: EvidenceParts & {
    /** A peer says that it has learnt of a fault. */
    readonly onChanged: (from: PeerId) => void
  }
}

const ENVELOPES_MAX = 256

export function createControl(
  components: ControlComponents,
): (bytes: Uint8Array, from: PeerId) => Promise<Uint8Array> {
  return async (bytes, from) => {
    try {
      const request = Request.decode(bytes)
      const body = await answer(components, request, from)
      return Response.encode({ code: 'OK', message: '', body })
    } catch (error) {
      const code = errorCode(error)
      components.log.debug({ from, code, detail: errorMessage(error) }, 'request refused')
      const message =
        error instanceof CtdError ? error.message : 'the request could not be answered'
      return Response.encode({ code, message, body: new Uint8Array(0) })
    }
  }
}

async function answer(
  components: ControlComponents,
  { method, body }: Request,
  from: PeerId,
): Promise<Uint8Array> {
  switch (method) {
    case 'deliver':
      deliver(components, body, from)
      return new Uint8Array(0)
    case 'heartbeat': {
      const heartbeat = openAs(components.network, body, 'heartbeat')
      if (heartbeat.author !== from) {
        // One that was kept and sent again would make a dead executor look alive.
        throw new CtdError('HEARTBEAT_NOT_OWN', 'a heartbeat of another peer')
      }
      const { isAwaited, missed: told } = components.onHeartbeat(heartbeat)
      // The end of a job is gossiped once; whoever still works on it has not heard of it.
      const end = components.inbox.recordOf(toHex(heartbeat.message.taskId))?.end
      const missed = end === undefined ? told : [...told, end.bytes]
      // One leading byte tells whether the executor is still awaited.
      return Buffer.concat([
        Uint8Array.of(isAwaited ? 1 : 0),
        Bundle.encode({ envelopes: [...missed] }),
      ])
    }
    case 'evidence-changed':
      components.evidence?.onChanged(from)
      return new Uint8Array(0)
    default: {
      const evidence =
        components.evidence && (await answerEvidence(components.evidence, method, body))
      if (evidence !== undefined) return evidence
      const found = await components.jobAnswer(method, parseJobId(body), from)
      if (found === undefined) throw new CtdError('JOB_UNKNOWN', 'this peer does not know the job')
      if (found.length > LIMITS.controlResponseBytes - 1024) {
        throw new CtdError('ANSWER_TOO_LARGE', 'the answer is too long for one message')
      }
      return found
    }
  }
}

function deliver({ inbox, network, log }: ControlComponents, body: Uint8Array, from: PeerId): void {
  const { envelopes } = Bundle.decode(body, { limits: { envelopes: ENVELOPES_MAX } })
  for (const bytes of envelopes) {
    // A message that waits for its predecessor must not hold up the answer.
    void inbox.receive(bytes, from).then(({ verdict, code }) => {
      if (verdict === 'reject') log.warn({ from, code, network }, 'a peer delivered a bad message')
    })
  }
}

function parseJobId(body: Uint8Array): JobId {
  const text = new TextDecoder().decode(body.subarray(0, 64))
  if (!/^[0-9a-f]{64}$/.test(text)) throw new CtdError('BAD_REQUEST', 'not a job id')
  return text as JobId
}
