/**
 * Configuration: flag, then `CTD_*` environment, then YAML file, then default. The only place that
 * reads the environment.
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { CtdError, errorMessage } from './errors.js'
import { LOG_LEVELS } from './log.js'

/** Windows, leases and rules that depend on how far apart peers are. Times in ms. */
export interface PresetTimes {
  readonly bidWindowMs: number
  readonly openWindowMs: number
  readonly revealWindowMs: number
  /** No replica counts as slow before, however fast others are. */
  readonly slowFloorMs: number
  readonly leaseMs: number
  /** After a lost connection. */
  readonly graceMs: number
  readonly heartbeatMs: number
  readonly queueTimeoutMs: number
  /** Between two rounds of asking others for receipts and faults. */
  readonly evidenceMs: number
  readonly diversity: 'operator' | 'operator-and-address'
}

const SECOND = 1000
const HOUR = 3600 * SECOND

export const PRESETS: Readonly<Record<'local' | 'lan' | 'public', PresetTimes>> = {
  local: {
    bidWindowMs: 2 * SECOND,
    openWindowMs: 2 * SECOND,
    revealWindowMs: 10 * SECOND,
    slowFloorMs: 10 * SECOND,
    leaseMs: 15 * SECOND,
    graceMs: SECOND,
    heartbeatMs: 2 * SECOND,
    queueTimeoutMs: HOUR / 4,
    evidenceMs: 15 * SECOND,
    diversity: 'operator',
  },
  lan: {
    bidWindowMs: 4 * SECOND,
    openWindowMs: 4 * SECOND,
    revealWindowMs: 20 * SECOND,
    slowFloorMs: 20 * SECOND,
    leaseMs: 30 * SECOND,
    graceMs: 5 * SECOND,
    heartbeatMs: 5 * SECOND,
    queueTimeoutMs: 12 * HOUR,
    evidenceMs: 60 * SECOND,
    diversity: 'operator',
  },
  public: {
    bidWindowMs: 10 * SECOND,
    openWindowMs: 10 * SECOND,
    revealWindowMs: 60 * SECOND,
    slowFloorMs: 60 * SECOND,
    leaseMs: 90 * SECOND,
    graceMs: 20 * SECOND,
    heartbeatMs: 15 * SECOND,
    queueTimeoutMs: 24 * HOUR,
    evidenceMs: 300 * SECOND,
    diversity: 'operator-and-address',
  },
}

const Strings = z.array(z.string())

const FileSchema = z.strictObject({
  home: z.string().min(1),
  /** Peers of different networks ignore each other's messages. */
  network: z.string().min(1).max(64),
  preset: z.enum(['local', 'lan', 'public']),
  role: z.enum(['peer', 'bootstrap']),
  listen: Strings,
  announce: Strings,
  bootstrap: Strings,
  logLevel: z.enum(LOG_LEVELS as [string, ...string[]]),
  /** Whether this peer works on other peers' jobs. */
  execute: z.boolean(),
  /** Replicas at the same time; as many seats are bid for in one batch. */
  seats: z.int().min(1).max(256),
  memoryMiB: z.int().min(64),
  diskMiB: z.int().min(256),
  /** What images that others' jobs bring may take in the engine. */
  imageMiB: z.int().min(0),
  /** What blobs may take of the line, in MiB per second; 0 for all of it. */
  uploadMiBps: z.int().min(0),
  downloadMiBps: z.int().min(0),
  isolation: z.array(z.enum(['runc', 'runsc', 'kata'])).min(1),
  engineSocket: z.string(),
  /** Reference file of the CPU task image, as `npm run image` writes it. */
  image: z.string(),
  /** Publishers whose code runs here, as peer ids; empty for everyone's. */
  publishers: Strings,
  blocked: Strings,
  /** Peer id of the owner of several peers; by default the peer itself. */
  operator: z.string(),
  capabilityGossip: z.boolean(),
})
const PartialSchema = FileSchema.partial()
type FileConfig = z.infer<typeof FileSchema>

export interface Config extends Omit<FileConfig, 'logLevel'> {
  readonly logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug'
  readonly socket: string
  readonly times: PresetTimes
}

export type Flags = Readonly<Record<string, string | boolean | string[] | undefined>>

const PACKAGE_DIR = resolve(import.meta.dirname, '..')
const LISTS = ['listen', 'announce', 'bootstrap', 'publishers', 'blocked', 'isolation']

/** `$CTD_HOME`, else `~/.local/share/ctd`. */
export function defaultHome(env: NodeJS.ProcessEnv): string {
  const data = env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share')
  return env['CTD_HOME'] ?? join(data, 'ctd')
}

/** The socket of a home. */
export function socketOf(home: string): string {
  return join(home, 'run', 'ctd.sock')
}

/**
 * Merges all sources.
 *
 * @param input.flags - by the names of the schema, `config` names the file
 * @throws CtdError CONFIG_INVALID naming the source and the key
 */
export function loadConfig(input: {
  readonly flags: Flags
  readonly env: NodeJS.ProcessEnv
}): Config {
  const { flags, env } = input
  const fromFlags = check(
    Object.fromEntries(
      Object.entries(flags).filter(([key, value]) => value !== undefined && key !== 'config'),
    ),
    'flags',
  )
  const fromEnv = check(environment(env), 'environment')
  const home = resolve(fromFlags.home ?? fromEnv.home ?? defaultHome(env))
  const file =
    typeof flags['config'] === 'string' ? resolve(flags['config']) : join(home, 'config.yaml')
  const isRequired = typeof flags['config'] === 'string'
  const fromFile = readFile(file, isRequired)
  const merged = { ...defaults(home), ...fromFile, ...fromEnv, ...fromFlags, home }
  const config = FileSchema.parse(merged)
  return {
    ...config,
    logLevel: config.logLevel as Config['logLevel'],
    execute: config.role === 'peer' && config.execute,
    socket: socketOf(config.home),
    times: PRESETS[config.preset],
  }
}

function defaults(home: string): FileConfig {
  return {
    home,
    network: 'ctd-main',
    preset: 'lan',
    role: 'peer',
    listen: ['/ip4/0.0.0.0/tcp/4701'],
    announce: [],
    bootstrap: [],
    logLevel: 'warn',
    execute: true,
    seats: 1,
    memoryMiB: 4096,
    diskMiB: 20 * 1024,
    imageMiB: 20 * 1024,
    uploadMiBps: 0,
    downloadMiBps: 0,
    isolation: ['runc'],
    engineSocket: '/var/run/docker.sock',
    image: join(PACKAGE_DIR, '.cache', 'images', 'image.json'),
    publishers: [],
    blocked: [],
    operator: '',
    capabilityGossip: true,
  }
}

function readFile(path: string, isRequired: boolean): Partial<FileConfig> {
  if (!existsSync(path)) {
    if (!isRequired) return {}
    throw new CtdError('CONFIG_INVALID', `there is no configuration file ${path}`)
  }
  try {
    return check(parse(readFileSync(path, 'utf8'), { maxAliasCount: 16 }) ?? {}, path)
  } catch (error) {
    if (error instanceof CtdError) throw error
    throw new CtdError('CONFIG_INVALID', `${path}: ${errorMessage(error)}`, { cause: error })
  }
}

/** `CTD_LOG_LEVEL=info` sets `logLevel`; lists are separated by commas. */
function environment(env: NodeJS.ProcessEnv): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  for (const key of Object.keys(FileSchema.shape)) {
    const name = `CTD_${key.replace(/([A-Z][a-z]|MiB)/g, '_$1').toUpperCase()}`
    const text = env[name]
    if (text === undefined) continue
    found[key] = LISTS.includes(key) ? text.split(',').filter((item) => item !== '') : scalar(text)
  }
  return found
}

function scalar(text: string): unknown {
  if (/^\d+$/.test(text)) return Number(text)
  return text === 'true' ? true : text === 'false' ? false : text
}

function check(value: unknown, source: string): Partial<FileConfig> {
  const result = PartialSchema.safeParse(value)
  if (!result.success) {
    throw new CtdError('CONFIG_INVALID', `${source}: ${z.prettifyError(result.error)}`, {
      hint: `known keys: ${Object.keys(FileSchema.shape).join(', ')}`,
    })
  }
  return Object.fromEntries(
    Object.entries(result.data).filter(([, item]) => item !== undefined),
  ) as Partial<FileConfig>
}

/** Refuses relative paths, which would mean another place for the daemon than for the caller. */
export function assertAbsolute(path: string): void {
  if (isAbsolute(path)) return
  throw new CtdError('PATH_NOT_ABSOLUTE', `not an absolute path: ${path}`, {
    hint: 'the daemon has another working folder than you; give the whole path',
  })
}
