/** What every command is given: where to print, whom to ask. */
import { ApiClient } from './client.js'
import { resolveHome, socketPathOf } from './home.js'
import { createPaint } from './terminal.js'
import type { Paint } from './terminal.js'

export interface Context {
  readonly client: ApiClient
  readonly home: string
  readonly socketPath: string
  readonly json: boolean
  /** Width of the terminal that data goes to; undefined when piped. */
  readonly columns: number | undefined
  readonly paint: Paint
  readonly paintError: Paint
  /** One block of data. */
  print(text: string): void
  /** One line of JSON data. */
  printJson(value: unknown): void
  /** A message beside the data. */
  tell(text: string): void
}

export interface GlobalOptions {
  readonly home?: string
  readonly json?: boolean
}

export function createContext(options: GlobalOptions): Context {
  const { env, stdout, stderr } = process
  const home = resolveHome(options.home, env)
  const socketPath = socketPathOf(home)
  return {
    client: new ApiClient({ socketPath }),
    home,
    socketPath,
    json: options.json === true,
    columns: stdout.isTTY ? stdout.columns : undefined,
    paint: createPaint(stdout.isTTY, env),
    paintError: createPaint(stderr.isTTY, env),
    print: (text) => void stdout.write(`${text}\n`),
    printJson: (value) => void stdout.write(`${JSON.stringify(value, null, 2)}\n`),
    tell: (text) => void stderr.write(`${text}\n`),
  }
}
