/**
 * Holds the arrows between the rooms of `src` (DESIGN.md, "The house"), which no linter rule can
 * say: who may import whom, whether for values or for types alone, and which room a package lives
 * in. Cycles, the clock, randomness and the environment are oxlint's (`.oxlintrc.json`).
 *
 *   node --import tsx scripts/lint-rooms.ts [FOLDER]     FOLDER holds `src`; this repository if absent
 *
 * Reads import statements by their form alone: prettier puts each at the start of a line.
 */
import { readFile, readdir } from 'node:fs/promises'
import { join, posix, resolve } from 'node:path'

/** What a room may import from others. Rooms that are not named are forbidden. */
interface RoomRules {
  /** Rooms and files of `src` whose values it may use. */
  readonly values: readonly string[]
  /** Rooms and files of which it may import types only. */
  readonly types?: readonly string[]
  /** Files that it may load with `import()` only. */
  readonly dynamic?: readonly string[]
  /** All packages and Node modules it may use, for rooms without IO; absent: see `HOMES`. */
  readonly packages?: readonly string[]
}

const BASE = ['errors.ts', 'clock.ts', 'log.ts', 'metrics.ts', 'events.ts', 'version.ts']
const LAW = ['protocol', 'training', 'wire']
const TOOLS = ['network', 'blob', 'container', 'hardware', 'store']
const PEOPLE = ['requester', 'executor', 'steward', 'witness']
/** The two ports: files of types that people, tools and the simulator share. */
const PORTS = ['network/transport.ts', 'container/container-runtime.ts']

const person: RoomRules = { values: [...BASE, ...LAW, ...PEOPLE], types: TOOLS }
const tool: RoomRules = { values: [...BASE, 'wire'], types: PORTS }
const door: RoomRules = {
  values: [...BASE, ...LAW, 'config.ts', 'identity.ts', 'api'],
  types: ['daemon.ts', ...PEOPLE, ...TOOLS],
  dynamic: ['daemon.ts', ...TOOLS],
}

const ROOMS: Readonly<Record<string, RoomRules>> = {
  wire: {
    values: ['errors.ts'],
    packages: ['node:crypto', 'uint8arrays', 'uint8arraylist', 'protons-runtime'],
  },
  training: {
    values: ['errors.ts'],
    packages: [
      'node:crypto',
      'node:fs',
      'node:fs/promises',
      'node:path',
      'node:stream',
      'node:worker_threads',
      'node:zlib',
      'hyparquet',
      'hyparquet-compressors',
      'zod',
    ],
  },
  protocol: {
    values: ['errors.ts', 'wire', 'training'],
    packages: ['@noble/curves', '@noble/hashes', 'zod'],
  },
  requester: person,
  executor: person,
  steward: person,
  witness: person,
  network: tool,
  blob: tool,
  container: tool,
  hardware: tool,
  store: tool,
  api: door,
  cli: door,
  dashboard: door,
  'errors.ts': { values: [] },
  'version.ts': { values: [] },
  'clock.ts': { values: ['errors.ts'] },
  'log.ts': { values: ['errors.ts'] },
  'metrics.ts': { values: ['errors.ts'] },
  'events.ts': { values: ['errors.ts', 'log.ts', 'clock.ts'], types: LAW },
  'config.ts': { values: ['errors.ts', 'log.ts', 'wire'] },
  'identity.ts': { values: ['errors.ts', 'wire'] },
  'idle-memory.ts': { values: ['clock.ts'] },
}

/** The composition root builds rooms, so it may import all of them. */
const ROOT_FILES = ['daemon.ts']

/** Packages that live in one room only. */
const HOMES: ReadonlyArray<{ readonly packages: RegExp; readonly rooms: readonly string[] }> = [
  {
    packages: /^(libp2p|@libp2p\/.*|@chainsafe\/.*|@multiformats\/.*|multiformats|it-.*)$/,
    rooms: ['network'],
  },
  { packages: /^dockerode$/, rooms: ['container'] },
  {
    packages: /^(level|classic-level|abstract-level|datastore-.*|interface-datastore)$/,
    rooms: ['store'],
  },
  { packages: /^@noble\//, rooms: ['protocol'] },
  { packages: /^hyparquet(-compressors)?$/, rooms: ['training'] },
  { packages: /^protons-runtime$/, rooms: ['wire'] },
  { packages: /^(fastify|@fastify\/.*|fastify-.*)$/, rooms: ['api'] },
  { packages: /^commander$/, rooms: ['cli'] },
]

export interface ImportStatement {
  readonly specifier: string
  readonly kind: 'value' | 'type' | 'dynamic'
  readonly line: number
}

export interface Violation {
  readonly file: string
  readonly line: number
  readonly code:
    'FORBIDDEN_ROOM' | 'TYPES_ONLY' | 'FORBIDDEN_PACKAGE' | 'COMPUTED_IMPORT' | 'ROOM_CYCLE'
  readonly message: string
}

const STATIC =
  /^[ \t]*(?:import|export)\b(?<type>\s+type\b)?(?:[\s\w*,$]|\{[^}]*\})*?\bfrom\s*(['"])(?<from>[^'"\n]+)\2/gm
const BARE = /^[ \t]*import\s*(['"])(?<from>[^'"\n]+)\1/gm
const DYNAMIC = /(?<![\w.$])(?:import|require)\s*\(\s*(['"`])(?<from>[^'"`\n$]+)\1/g
const COMPUTED = /(?<![\w.$'`*])import\s*\(\s*(?!\s*['"`][^$]*?['"`])/g

/** All imports of a module, with the form that decides what is loaded at run time. */
export function importsOf(source: string): ImportStatement[] {
  const code = withoutComments(source)
  const found: ImportStatement[] = []
  const add = (
    pattern: RegExp,
    kindOf: (match: RegExpMatchArray) => ImportStatement['kind'],
  ): void => {
    for (const match of code.matchAll(pattern)) {
      const specifier = match.groups?.['from'] ?? ''
      found.push({ specifier, kind: kindOf(match), line: lineAt(code, match.index) })
    }
  }
  add(STATIC, (match) => (match.groups?.['type'] === undefined ? 'value' : 'type'))
  add(BARE, () => 'value')
  add(DYNAMIC, () => 'dynamic')
  add(COMPUTED, () => 'dynamic')
  return found.sort((a, b) => a.line - b.line)
}

/**
 * Judges the modules of a `src` folder.
 *
 * @param files - source text by path below `src`, with `/` between names
 */
export function findViolations(files: ReadonlyMap<string, string>): Violation[] {
  const violations: Violation[] = []
  const arrows = new Map<string, Map<string, Violation>>()
  for (const [file, source] of files) {
    for (const statement of importsOf(source)) {
      const violation = judge(file, statement)
      if (violation !== undefined) violations.push(violation)
      else noteArrow(arrows, file, statement)
    }
  }
  return [...violations, ...cyclesAmong(arrows)]
}

function judge(file: string, { specifier, kind, line }: ImportStatement): Violation | undefined {
  const room = roomOf(file)
  if (ROOT_FILES.includes(file)) return undefined
  const rules = ROOMS[room]
  const say = (code: Violation['code'], message: string): Violation => ({
    file,
    line,
    code,
    message,
  })
  if (rules === undefined) {
    return say(
      'FORBIDDEN_ROOM',
      `${room} is no room of the house; name it in scripts/lint-rooms.ts`,
    )
  }
  if (specifier === '') {
    return say('COMPUTED_IMPORT', 'the name of an imported module must be a plain text')
  }
  if (!specifier.startsWith('.')) return judgePackage(room, rules, specifier, say)
  const target = targetOf(file, specifier)
  if (roomOf(target) === room || allows(rules.values, target)) return undefined
  if (kind === 'type' && allows([...(rules.types ?? []), ...(rules.dynamic ?? [])], target))
    return undefined
  if (kind === 'dynamic' && allows(rules.dynamic ?? [], target)) return undefined
  if (allows(rules.types ?? [], target) || allows(rules.dynamic ?? [], target)) {
    const ways = allows(rules.dynamic ?? [], target)
      ? '`import type` or `import()`'
      : '`import type`'
    return say('TYPES_ONLY', `${room} may reach ${target} only by ${ways}`)
  }
  return say('FORBIDDEN_ROOM', `${room} may not import ${target}`)
}

function judgePackage(
  room: string,
  rules: RoomRules,
  specifier: string,
  say: (code: Violation['code'], message: string) => Violation,
): Violation | undefined {
  const name = packageOf(specifier)
  if (rules.packages !== undefined && !rules.packages.includes(name)) {
    const allowed = rules.packages.join(', ')
    return say('FORBIDDEN_PACKAGE', `${room} may not import ${name}; it has ${allowed}`)
  }
  const home = HOMES.find(({ packages }) => packages.test(name))
  if (home === undefined || home.rooms.includes(room)) return undefined
  return say('FORBIDDEN_PACKAGE', `${name} lives only in ${home.rooms.join(', ')}`)
}

/** `protocol` of `protocol/bid.ts`; the file itself for those directly in `src`. */
function roomOf(path: string): string {
  return path.split('/')[0] ?? path
}

function targetOf(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts')
}

/** `@noble/hashes` of `@noble/hashes/sha2.js`, `node:fs/promises` as it is. */
function packageOf(specifier: string): string {
  if (specifier.startsWith('node:')) return specifier
  const parts = specifier.split('/')
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
}

function allows(list: readonly string[], target: string): boolean {
  return list.some((entry) => entry === target || entry === roomOf(target))
}

type Arrows = Map<string, Map<string, Violation>>

/** Remembers the first place where one room loads another. Types load nothing. */
function noteArrow(arrows: Arrows, file: string, { specifier, kind, line }: ImportStatement): void {
  if (kind === 'type' || !specifier.startsWith('.')) return
  const from = roomOf(file)
  const to = roomOf(targetOf(file, specifier))
  if (from === to) return
  const targets = arrows.get(from) ?? new Map<string, Violation>()
  arrows.set(from, targets)
  if (targets.has(to)) return
  targets.set(to, {
    file,
    line,
    code: 'ROOM_CYCLE',
    message: `${from} and ${to} import each other`,
  })
}

/** One violation for every arrow that lies on a circle of rooms. */
function cyclesAmong(arrows: Arrows): Violation[] {
  const reaches = (from: string, goal: string, seen: Set<string>): boolean =>
    [...(arrows.get(from)?.keys() ?? [])].some((next) => {
      if (next === goal) return true
      if (seen.has(next)) return false
      seen.add(next)
      return reaches(next, goal, seen)
    })
  return [...arrows].flatMap(([from, targets]) =>
    [...targets].flatMap(([to, violation]) => {
      if (!reaches(to, from, new Set())) return []
      return [{ ...violation, message: `${from} imports ${to}, and ${to} leads back to ${from}` }]
    }),
  )
}

/** Blanks block comments and whole-line comments, keeping every line where it was. */
function withoutComments(source: string): string {
  return source
    .replace(/^[ \t]*\/\*[\s\S]*?\*\//gm, (comment) => comment.replace(/[^\n]/g, ' '))
    .replace(/^[ \t]*\/\/.*$/gm, (comment) => ' '.repeat(comment.length))
}

function lineAt(text: string, index: number | undefined): number {
  return text.slice(0, index ?? 0).split('\n').length
}

async function readSources(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  const names = await readdir(folder, { recursive: true })
  for (const name of names.map((each) => each.replaceAll('\\', '/')).sort()) {
    if (name.endsWith('.ts')) files.set(name, await readFile(join(folder, name), 'utf8'))
  }
  return files
}

async function main(): Promise<void> {
  const root = resolve(process.argv[2] ?? join(import.meta.dirname, '..'))
  const files = await readSources(join(root, 'src'))
  const violations = findViolations(files)
  for (const { file, line, code, message } of violations) {
    console.error(`src/${file}:${line}  ${code}  ${message}`)
  }
  if (files.size === 0) console.error(`no modules in ${join(root, 'src')}`)
  if (violations.length > 0 || files.size === 0) process.exitCode = 1
  else console.log(`${files.size} modules keep to their rooms`)
}

if (process.argv[1] === import.meta.filename) await main()
