/** The thin client: plain HTTP over the daemon's unix socket. */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage, RequestOptions } from 'node:http'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { AddedView } from '../api/blob-port.js'
import { CtdError } from '../errors.js'

/** Largest JSON answer that is read. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024
const ANSWER_TIMEOUT_MS = 5 * 60_000
/** Longest event; a longer one ends the stream and polling goes on. */
const EVENT_CHARS_MAX = 1024 * 1024

export interface ClientOptions {
  readonly socketPath: string
}

export class ApiClient {
  readonly #socketPath: string

  constructor(options: ClientOptions) {
    this.#socketPath = options.socketPath
  }

  /**
   * The JSON answer of a GET. The type is taken on trust: client and daemon are one package.
   *
   * @throws CtdError with the code of the daemon's problem, or DAEMON_NOT_RUNNING
   */
  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return await readJson<T>(await this.#send({ path, method: 'GET' }, undefined, signal))
  }

  /** The JSON answer of a POST with a JSON body, or without one. @throws CtdError as `get` */
  async post<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const headers =
      bytes === undefined
        ? { 'content-length': '0' }
        : { 'content-type': 'application/json', 'content-length': String(bytes.length) }
    return await readJson<T>(await this.#send({ path, method: 'POST', headers }, bytes, signal))
  }

  /** The JSON answer of a PUT with a JSON body. @throws CtdError as `get` */
  async put<T>(path: string, body: unknown): Promise<T> {
    const bytes = Buffer.from(JSON.stringify(body))
    const headers = { 'content-type': 'application/json', 'content-length': String(bytes.length) }
    return await readJson<T>(await this.#send({ path, method: 'PUT', headers }, bytes, undefined))
  }

  /** The JSON answer of a DELETE. @throws CtdError as `get` */
  async delete<T>(path: string): Promise<T> {
    return await readJson<T>(await this.#send({ path, method: 'DELETE' }, undefined, undefined))
  }

  /**
   * Work that tells of its progress: lines of `{"progress"}`, then one of `{"result"}` or
   * `{"problem"}`.
   *
   * @throws CtdError as `get`, CONNECTION_LOST where the daemon left before the end
   */
  async work<P, R>(
    path: string,
    body: unknown,
    onProgress: (progress: P) => void,
    signal: AbortSignal,
  ): Promise<R> {
    const bytes = Buffer.from(JSON.stringify(body))
    const headers = { 'content-type': 'application/json', 'content-length': String(bytes.length) }
    const response = await this.#send({ path, method: 'POST', headers }, bytes, signal)
    response.setEncoding('utf8')
    for await (const text of linesOf(response)) {
      const line = JSON.parse(text) as {
        readonly progress?: P
        readonly result?: R
        readonly problem?: Record<string, unknown>
      }
      if (line.progress !== undefined) onProgress(line.progress)
      if (line.result !== undefined) return line.result
      if (line.problem !== undefined)
        throw problemError(line.problem, Number(line.problem['status']))
    }
    throw new CtdError('CONNECTION_LOST', 'the daemon left before it was done', {
      hint: 'what was verified is kept: start the daemon and run the command again',
    })
  }

  /** Uploads bytes. @throws CtdError as `get` */
  async upload(bytes: Readable, signal?: AbortSignal): Promise<AddedView> {
    const headers = { 'content-type': 'application/octet-stream' }
    const options = { path: '/v1/blobs', method: 'POST', headers }
    return await readJson(await this.#send(options, bytes, signal))
  }

  /** The bytes of an artifact. @throws CtdError as `get` */
  async download(path: string, signal?: AbortSignal): Promise<Readable> {
    return await this.#send({ path, method: 'GET' }, undefined, signal)
  }

  /** The event stream as `{type, data}`; ends with the connection. @throws CtdError as `get` */
  async *events(
    signal: AbortSignal,
  ): AsyncGenerator<{ readonly type: string; readonly data: string }> {
    const response = await this.#send({ path: '/v1/events', method: 'GET' }, undefined, signal)
    response.setEncoding('utf8')
    let rest = ''
    for await (const chunk of response) {
      rest += String(chunk)
      let end = rest.indexOf('\n\n')
      for (; end >= 0; end = rest.indexOf('\n\n')) {
        const lines = rest.slice(0, end).split('\n')
        rest = rest.slice(end + 2)
        const field = (name: string): string =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? ''
        const data = field('data')
        if (data !== '') yield { type: field('event'), data }
      }
      if (rest.length > EVENT_CHARS_MAX) return
    }
  }

  async #send(
    options: RequestOptions,
    body: Buffer | Readable | undefined,
    signal: AbortSignal | undefined,
  ): Promise<IncomingMessage> {
    const request = httpRequest({
      ...options,
      socketPath: this.#socketPath,
      agent: false,
      ...(signal === undefined ? {} : { signal }),
    })
    request.setTimeout(ANSWER_TIMEOUT_MS, () => {
      request.destroy(new CtdError('ANSWER_TIMEOUT', 'the daemon did not answer in time'))
    })
    const responded = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve)
      request.once('error', (error) => reject(explainConnection(error, this.#socketPath)))
    })
    if (body === undefined || Buffer.isBuffer(body)) request.end(body)
    else {
      // The answer decides: a daemon that refuses an upload answers before it is complete.
      pipeline(body, request).catch((error: unknown) => {
        if (body.errored !== null && error instanceof Error) request.destroy(error)
      })
    }
    const response = await responded
    const status = response.statusCode ?? 500
    if (status >= 400) throw await readProblem(response, status)
    return response
  }
}

function explainConnection(error: Error, socketPath: string): Error {
  const code: unknown = Reflect.get(error, 'code')
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK' || code === 'ENOTDIR') {
    return new CtdError('DAEMON_NOT_RUNNING', `no daemon listens on ${socketPath}`, {
      hint: 'start it: ctd start    or look deeper: ctd doctor',
      cause: error,
    })
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new CtdError('DAEMON_NOT_RUNNING', 'the daemon closed the connection', {
      hint: 'see whether it still runs: ctd status',
      cause: error,
    })
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CtdError('PERMISSION_DENIED', `you may not use the socket ${socketPath}`, {
      hint: 'run as the user that started the daemon',
      cause: error,
    })
  }
  return error
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of response) {
    rest += String(chunk)
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield rest.slice(0, end)
      rest = rest.slice(end + 1)
    }
    if (rest.length > ANSWER_BYTES_MAX) return
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk)
    size += bytes.length
    if (size > ANSWER_BYTES_MAX) throw new CtdError('ANSWER_TOO_LARGE', 'the answer is too large')
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function readJson<T>(response: IncomingMessage): Promise<T> {
  return JSON.parse(await readText(response)) as T
}

async function readProblem(response: IncomingMessage, status: number): Promise<CtdError> {
  const text = await readText(response)
  let problem: Record<string, unknown> = {}
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null) problem = { ...parsed }
  } catch {
    // Not our document; the status says what there is to say.
  }
  return problemError(problem, status)
}

function problemError(problem: Readonly<Record<string, unknown>>, status: number): CtdError {
  const { code, detail, hint } = problem
  return new CtdError(
    typeof code === 'string' ? code : 'INTERNAL',
    typeof detail === 'string' ? detail : `the daemon answered with status ${status}`,
    {
      ...(typeof hint === 'string' ? { hint } : {}),
      fields: { ...problem, httpStatus: status },
    },
  )
}
