/** What every command is given: where to print, whom to ask. */
import { ApiClient } from './client.js'
import { resolveHome, socketPathOf } from './home.js'
import { createPaint } from './terminal.js'
import type { Paint } from './terminal.js'

/** For a terminal that does not tell its size. */
export const COLUMNS_DEFAULT = 80
export const ROWS_DEFAULT = 24

export interface Context {
  readonly client: ApiClient
  readonly home: string
  readonly socketPath: string
  readonly json: boolean
  /** Width of the terminal that data goes to; undefined when piped. */
  readonly columns: number | undefined
  readonly env: NodeJS.ProcessEnv
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
  const { stdout, stderr } = process
  const env = environment()
  const home = resolveHome(options.home, env)
  const socketPath = socketPathOf(home)
  return {
    client: new ApiClient({ socketPath }),
    home,
    socketPath,
    json: options.json === true,
    columns: stdout.isTTY ? stdout.columns || COLUMNS_DEFAULT : undefined,
    env,
    paint: createPaint(stdout.isTTY, env),
    paintError: createPaint(stderr.isTTY, env),
    print: (text) => void stdout.write(`${text}\n`),
    printJson: (value) => void stdout.write(`${JSON.stringify(value, null, 2)}\n`),
    tell: (text) => void stderr.write(`${text}\n`),
  }
}

/**
 * The environment of the command line. Read here and handed on, because the thin client cannot
 * afford to load `config.ts`.
 */
export function environment(): NodeJS.ProcessEnv {
  // oxlint-disable-next-line no-restricted-properties
  return process.env
}
