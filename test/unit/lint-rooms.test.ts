import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { findViolations, importsOf, type Violation } from '../../scripts/lint-rooms.js'

const SCRIPT = resolve(import.meta.dirname, '../../scripts/lint-rooms.ts')

/** Violations of one planted module. */
function planted(file: string, source: string): Violation[] {
  return findViolations(new Map([[file, source]]))
}

function codes(file: string, source: string): string[] {
  return planted(file, source).map(({ code }) => code)
}

/** Runs the script on a folder with these files below `src`. */
async function runOn(
  files: Readonly<Record<string, string>>,
): Promise<{ code: number; output: string }> {
  const root = await mkdtemp(join(tmpdir(), 'ctd-lint-rooms-'))
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, 'src', path)), { recursive: true })
      await writeFile(join(root, 'src', path), text)
    }
    return await new Promise((done) => {
      const args = ['--import', 'tsx', SCRIPT, root]
      execFile(process.execPath, args, (error, stdout, stderr) => {
        done({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
      })
    })
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

describe('the arrows between rooms', () => {
  test('FORBIDDEN_ROOM: the law does not know the people', () => {
    const [violation] = planted(
      'protocol/bid.ts',
      "import { a } from '../errors.js'\nimport { refusalOf } from '../executor/bid.js'\n",
    )
    assert.equal(violation?.code, 'FORBIDDEN_ROOM')
    assert.equal(violation.line, 2)
  })

  test('FORBIDDEN_ROOM: wire does not know the law, not even its types', () => {
    const source = "import type { Plan } from '../protocol/plan.js'\n"
    assert.deepEqual(codes('wire/envelope.ts', source), ['FORBIDDEN_ROOM'])
  })

  test('FORBIDDEN_ROOM: a tool knows neither people nor the law nor another tool', () => {
    for (const target of ['witness/inbox', 'protocol/plan', 'store/store', 'daemon']) {
      const source = `import { x } from '../${target}.js'\n`
      assert.deepEqual(codes('blob/blob-store.ts', source), ['FORBIDDEN_ROOM'], target)
    }
  })

  test('FORBIDDEN_ROOM: people do not know doors or the composition root', () => {
    for (const target of ['api/server', 'cli/ctd', 'daemon', 'config']) {
      const source = `import { x } from '../${target}.js'\n`
      assert.deepEqual(codes('requester/requester.ts', source), ['FORBIDDEN_ROOM'], target)
    }
  })

  test('TYPES_ONLY: people see of the tools their types alone', () => {
    const room = 'executor/execute.ts'
    assert.deepEqual(codes(room, "import type { S } from '../store/store.js'\n"), [])
    assert.deepEqual(codes(room, "import { Store } from '../store/store.js'\n"), ['TYPES_ONLY'])
    assert.deepEqual(codes(room, "export { Store } from '../store/store.js'\n"), ['TYPES_ONLY'])
    assert.deepEqual(codes(room, "import '../store/store.js'\n"), ['TYPES_ONLY'])
    assert.deepEqual(codes(room, "await import('../store/store.js')\n"), ['TYPES_ONLY'])
    // An inline `type` still loads the module under verbatimModuleSyntax.
    assert.deepEqual(codes(room, "import { type S } from '../store/store.js'\n"), ['TYPES_ONLY'])
  })

  test('TYPES_ONLY: a port is a file of types for tools too', () => {
    const source = (type: string) => `import ${type}{ T } from '../network/transport.js'\n`
    assert.deepEqual(codes('blob/blob-server.ts', source('type ')), [])
    assert.deepEqual(codes('blob/blob-server.ts', source('')), ['TYPES_ONLY'])
  })

  test('TYPES_ONLY: a door loads the daemon only when it is started', () => {
    assert.deepEqual(codes('cli/start.ts', "const d = await import('../daemon.js')\n"), [])
    assert.deepEqual(codes('cli/start.ts', "import { run } from '../daemon.js'\n"), ['TYPES_ONLY'])
  })

  test('FORBIDDEN_PACKAGE: a package lives in its room', () => {
    const importing = (name: string) => `import x from '${name}'\n`
    assert.deepEqual(codes('executor/a.ts', importing('libp2p')), ['FORBIDDEN_PACKAGE'])
    assert.deepEqual(codes('blob/a.ts', importing('@libp2p/interface')), ['FORBIDDEN_PACKAGE'])
    assert.deepEqual(codes('hardware/a.ts', importing('dockerode')), ['FORBIDDEN_PACKAGE'])
    assert.deepEqual(codes('network/a.ts', importing('level')), ['FORBIDDEN_PACKAGE'])
    assert.deepEqual(codes('witness/a.ts', importing('@noble/curves/x.js')), ['FORBIDDEN_PACKAGE'])
    assert.deepEqual(codes('network/a.ts', importing('libp2p')), [])
    assert.deepEqual(codes('protocol/a.ts', importing('@noble/curves/ed25519.js')), [])
  })

  test('FORBIDDEN_PACKAGE: the law does no IO', () => {
    const source = "import { readFile } from 'node:fs/promises'\n"
    assert.deepEqual(codes('protocol/plan.ts', source), ['FORBIDDEN_PACKAGE'])
    assert.deepEqual(codes('wire/ids.ts', source), ['FORBIDDEN_PACKAGE'])
  })

  test('COMPUTED_IMPORT: what is loaded stands in the source', () => {
    assert.deepEqual(codes('cli/start.ts', 'await import(name)\n'), ['COMPUTED_IMPORT'])
    assert.deepEqual(codes('cli/start.ts', 'await import(`../${room}.js`)\n'), ['COMPUTED_IMPORT'])
  })

  test('ROOM_CYCLE: two people do not need each other', () => {
    const violations = findViolations(
      new Map([
        ['steward/a.ts', "import { b } from '../witness/b.js'\n"],
        ['witness/b.ts', "import { c } from '../requester/c.js'\n"],
        ['requester/c.ts', "import { a } from '../steward/a.js'\n"],
        ['executor/d.ts', "import { b } from '../witness/b.js'\n"],
      ]),
    )
    assert.deepEqual(violations.map(({ code, file }) => `${code} ${file}`).sort(), [
      'ROOM_CYCLE requester/c.ts',
      'ROOM_CYCLE steward/a.ts',
      'ROOM_CYCLE witness/b.ts',
    ])
  })

  test('FORBIDDEN_ROOM: a new room is named before it is used', () => {
    assert.deepEqual(codes('helpers/a.ts', "import { x } from '../errors.js'\n"), [
      'FORBIDDEN_ROOM',
    ])
  })

  test('the composition root may import every room', () => {
    const source = "import { a } from './network/a.js'\nimport Docker from 'dockerode'\n"
    assert.deepEqual(codes('daemon.ts', source), [])
  })

  test('imports over many lines are read, imports in comments are not', () => {
    const source = [
      "/** Example: import { a } from './a.js' */",
      "// import { b } from './b.js'",
      'import {',
      '  c,',
      '  type D,',
      "} from './c.js'",
      "export * from './e.js'",
      "import type F from './f.js'",
      'export const from = 1',
      "import g, * as h from './g.js'",
    ].join('\n')
    assert.deepEqual(importsOf(source), [
      { specifier: './c.js', kind: 'value', line: 3 },
      { specifier: './e.js', kind: 'value', line: 7 },
      { specifier: './f.js', kind: 'type', line: 8 },
      { specifier: './g.js', kind: 'value', line: 10 },
    ])
  })

  test('the script ends with 1 and names file, line and code where a violation is planted', async () => {
    const { code, output } = await runOn({
      'errors.ts': 'export const a = 1\n',
      'protocol/plan.ts': "import { Docker } from '../container/docker-runtime.js'\n",
    })
    assert.equal(code, 1)
    assert.match(output, /^src\/protocol\/plan\.ts:1 {2}FORBIDDEN_ROOM /m)
  })

  test('the script ends with 0 where all keep to their rooms', async () => {
    const { code, output } = await runOn({
      'errors.ts': 'export const a = 1\n',
      'protocol/plan.ts': "import { a } from '../errors.js'\n",
    })
    assert.equal(code, 0, output)
  })

  test('the script ends with 1 where it finds nothing to check', async () => {
    const { code } = await runOn({ 'README.md': '# nothing\n' })
    assert.equal(code, 1)
  })
})
