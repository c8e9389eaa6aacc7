/** The request for a container and its auditor, written apart, must agree; and the auditor bite. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { TaskSpec } from '../../src/container/container-runtime.js'
import {
  auditHostConfig,
  auditInspect,
  type ContainerPolicy,
} from '../../src/container/host-config-audit.js'
import { createOptions, type RunLayout } from '../../src/container/host-config.js'

const SEED = Number(process.env['CTD_SEED'] ?? Date.now() % 2 ** 31)
const MIB = 1024 ** 2
const hex64 = fc.stringMatching(/^[0-9a-f]{64}$/)
const name = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,20}$/)
const path = fc
  .array(fc.stringMatching(/^[a-z0-9]{1,8}$/), { minLength: 1, maxLength: 4 })
  .map((parts) => `/srv/${parts.join('/')}`)
const uuid = fc.uuid().map((id) => `GPU-${id}`)

const specs: fc.Arbitrary<TaskSpec> = fc.record({
  taskKey: fc.stringMatching(/^[a-z0-9][a-zA-Z0-9_.-]{0,40}$/),
  owner: fc.stringMatching(/^[a-zA-Z0-9]{1,52}$/),
  image: fc.record({
    name,
    configDigest: hex64,
    manifestDigest: hex64,
    diffIds: fc.array(hex64, { minLength: 1, maxLength: 3 }),
    sizeBytes: fc.nat(),
  }),
  argv: fc.array(
    fc.string({ minLength: 1 }).filter((item) => !item.includes('\0')),
    { minLength: 1, maxLength: 5 },
  ),
  env: fc.dictionary(
    fc.stringMatching(/^CTD_PARAM_[A-Z0-9_]{1,10}$/),
    fc.stringMatching(/^[ -~]{0,30}$/),
    { maxKeys: 5 },
  ),
  inputs: fc.uniqueArray(fc.record({ name, path }), {
    selector: (input) => input.name,
    maxLength: 4,
  }),
  workDir: path,
  memoryMiB: fc.integer({ min: 16, max: 1_000_000 }),
  cpus: fc.double({ min: 0.01, max: 256, noNaN: true }),
  pids: fc.integer({ min: 1, max: 4096 }),
  outMiB: fc.integer({ min: 1, max: 100_000 }),
  timeoutMs: fc.integer({ min: 1, max: 10_000_000 }),
  gpuUuids: fc.uniqueArray(uuid, { maxLength: 3 }),
  isolation: fc.constantFrom('runc', 'runsc', 'kata'),
})

function layoutFor(spec: TaskSpec): RunLayout {
  return {
    inDir: `${spec.workDir}/in`,
    outDir: `${spec.workDir}/out`,
    progressDir: `${spec.workDir}/progress`,
    imageId: `sha256:${spec.image.configDigest}`,
    runtimeName: spec.isolation,
    user: '65534:65534',
    instructionSet: 'avx2',
    gpuDriver: spec.pids % 2 === 0 ? 'cdi' : 'nvidia',
  }
}

function policyFor(spec: TaskSpec): ContainerPolicy {
  return {
    mounts: [
      { source: `${spec.workDir}/in`, target: '/in', readOnly: true },
      ...spec.inputs.map((input) => ({
        source: input.path,
        target: `/in/${input.name}`,
        readOnly: true,
      })),
      { source: `${spec.workDir}/out`, target: '/out', readOnly: false },
      { source: `${spec.workDir}/progress`, target: '/progress', readOnly: false },
    ],
    memoryBytesMax: (spec.memoryMiB + 128) * MIB,
    cpusMax: spec.cpus + 1e-8,
    pidsMax: spec.pids,
    shmBytesMax: 64 * MIB,
    tmpBytesMax: 64 * MIB,
    runtimeName: spec.isolation,
    user: '65534:65534',
    gpuUuids: spec.gpuUuids,
  }
}

const EXAMPLE: TaskSpec = {
  taskKey: 'task-1',
  owner: '12D3KooWExample',
  image: {
    name: 'x',
    configDigest: 'a'.repeat(64),
    manifestDigest: 'b'.repeat(64),
    diffIds: ['c'.repeat(64)],
    sizeBytes: 1,
  },
  argv: ['python3', '/opt/ctd/trainer.py'],
  env: { CTD_SEED: '7', PYTHONHASHSEED: '0' },
  inputs: [{ name: 'task.json', path: '/ctd/blobs/1' }],
  workDir: '/ctd/work/1',
  memoryMiB: 512,
  cpus: 1,
  pids: 64,
  outMiB: 64,
  timeoutMs: 1000,
  gpuUuids: [],
  isolation: 'runc',
}

describe('createOptions', () => {
  test(`every task's request passes the auditor (seed ${SEED})`, () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const options = createOptions(spec, layoutFor(spec))
        assert.deepEqual(auditHostConfig(options.HostConfig, policyFor(spec)), [])
      }),
      { seed: SEED, numRuns: 2000 },
    )
  })

  test('a task gets its program, its values and the flags of one determinism class', () => {
    const options = createOptions(EXAMPLE, layoutFor(EXAMPLE))
    assert.deepEqual(options.Entrypoint, ['python3'])
    assert.deepEqual(options.Cmd, ['/opt/ctd/trainer.py'])
    assert.equal(options.Image, `sha256:${'a'.repeat(64)}`)
    for (const item of [
      'CTD_SEED=7',
      'OMP_NUM_THREADS=1',
      'ATEN_CPU_CAPABILITY=avx2',
      'CTD_PROGRESS=/progress/progress.jsonl',
    ]) {
      assert.ok(options.Env?.includes(item), item)
    }
    assert.equal(
      options.Env?.some((item) => item.includes(EXAMPLE.owner)),
      false,
    )
  })

  test('a machine without AVX2 gets flags it can run, and never those of the other class', () => {
    const { Env = [] } = createOptions(EXAMPLE, { ...layoutFor(EXAMPLE), instructionSet: 'base' })
    assert.ok(Env.includes('ATEN_CPU_CAPABILITY=default'))
    assert.ok(Env.includes('OPENBLAS_CORETYPE=Prescott'))
    assert.ok(!Env.some((item) => /avx2|haswell/i.test(item)))
  })

  const bad: readonly (readonly [string, Partial<TaskSpec>])[] = [
    ['a task key with a slash', { taskKey: '../x' }],
    ['no program', { argv: [] }],
    ['a program with a NUL byte', { argv: ['a\0b'] }],
    ['a preloaded library', { env: { LD_PRELOAD: '/in/x.so' } }],
    ['GPUs through the environment', { env: { NVIDIA_VISIBLE_DEVICES: 'all' } }],
    ['another thread count', { env: { OMP_NUM_THREADS: '8' } }],
    ['an environment name in small letters', { env: { path: 'x' } }],
    ['an input outside /in', { inputs: [{ name: '../out', path: '/srv/x' }] }],
    [
      'two inputs of one name',
      {
        inputs: [
          { name: 'a', path: '/srv/x' },
          { name: 'a', path: '/srv/y' },
        ],
      },
    ],
    ['an input by a relative path', { inputs: [{ name: 'a', path: 'x' }] }],
    ['an input by a path with dots', { inputs: [{ name: 'a', path: '/srv/../etc/shadow' }] }],
    ['no memory', { memoryMiB: 0 }],
    ['memory that is not a number', { memoryMiB: Number.NaN }],
    ['endless time', { timeoutMs: Number.POSITIVE_INFINITY }],
    ['all GPUs', { gpuUuids: ['all'] }],
    ['an image by its tag', { image: { ...EXAMPLE.image, configDigest: 'latest' } }],
  ]
  for (const [what, change] of bad) {
    test(`BAD_TASK_SPEC: ${what} is refused`, () => {
      const spec = { ...EXAMPLE, ...change }
      assert.throws(() => createOptions(spec, layoutFor(spec)), { code: 'BAD_TASK_SPEC' })
    })
  }
})

describe('the auditor', () => {
  const request = (): Record<string, unknown> =>
    JSON.parse(JSON.stringify(createOptions(EXAMPLE, layoutFor(EXAMPLE)).HostConfig))
  const policy = policyFor(EXAMPLE)
  const mounts = (): Record<string, unknown>[] => JSON.parse(JSON.stringify(request()['Mounts']))
  const withMount = (change: Record<string, unknown>): unknown[] => [
    ...mounts().slice(1),
    { ...mounts()[0], ...change },
  ]

  const changes: Readonly<Record<string, unknown>> = {
    'a privileged container': { Privileged: true },
    'a bind by the old field': { Binds: ['/:/host'] },
    'an added capability': { CapAdd: ['SYS_ADMIN'] },
    'capabilities not dropped': { CapDrop: [] },
    'some capabilities dropped': { CapDrop: ['NET_RAW'] },
    'the network of the host': { NetworkMode: 'host' },
    'the default network': { NetworkMode: 'bridge' },
    'the processes of the host': { PidMode: 'host' },
    'the memory segments of the host': { IpcMode: 'host' },
    'the host name space': { UTSMode: 'host' },
    'the users of the host': { UsernsMode: 'host' },
    'the control groups of the host': { CgroupnsMode: 'host' },
    'a writable root': { ReadonlyRootfs: false },
    'a device': { Devices: [{ PathOnHost: '/dev/sda' }] },
    'a device rule': { DeviceCgroupRules: ['a *:* rwm'] },
    'a GPU that was not leased': {
      DeviceRequests: [{ Driver: 'nvidia', Count: -1, Capabilities: [['gpu']] }],
    },
    'no system call filter': { SecurityOpt: ['no-new-privileges', 'seccomp=unconfined'] },
    'new privileges': { SecurityOpt: [] },
    'unmasked kernel files': { MaskedPaths: [] },
    'writable kernel settings': { ReadonlyPaths: [] },
    'no process limit': { PidsLimit: -1 },
    'no memory limit': { Memory: 0 },
    'more memory': { Memory: 2 ** 40, MemorySwap: 2 ** 40 },
    swap: { MemorySwap: -1 },
    'no kill when memory ends': { OomKillDisable: true },
    'no CPU limit': { NanoCpus: 0 },
    'a score that spares it': { OomScoreAdj: -1000 },
    'another runtime': { Runtime: 'other' },
    'a restart policy': { RestartPolicy: { Name: 'always' } },
    'an unbounded log': { LogConfig: { Type: 'json-file', Config: {} } },
    'a remote log': { LogConfig: { Type: 'syslog', Config: { 'max-size': '8m' } } },
    'a published port': { PortBindings: { '80/tcp': [{ HostPort: '80' }] } },
    'kernel settings': { Sysctls: { 'kernel.msgmax': '1' } },
    'another group': { GroupAdd: ['0'] },
    'volumes of others': { VolumesFrom: ['other'] },
    'a field nobody knows': { SomethingNew: { on: true } },
    'an executable /tmp': { Tmpfs: { '/tmp': 'rw,exec,nosuid,nodev,size=64m' } },
    'a second memory file system': { Tmpfs: { '/tmp': request()['Tmpfs'], '/x': 'size=1g' } },
    'a mount of the host root': { Mounts: withMount({ Source: '/' }) },
    'a mount of the engine socket': { Mounts: withMount({ Source: '/var/run/docker.sock' }) },
    'a mount of /proc': { Mounts: withMount({ Source: '/proc' }) },
    'a writable input': { Mounts: withMount({ ReadOnly: false }) },
    'a shared mount': { Mounts: withMount({ BindOptions: { Propagation: 'rshared' } }) },
    'a volume': { Mounts: withMount({ Type: 'volume' }) },
    'a mount too many': { Mounts: [...mounts(), { ...mounts()[0], Target: '/more' }] },
    'a mount too few': { Mounts: mounts().slice(1) },
    'core files': { Ulimits: [{ Name: 'core', Soft: -1, Hard: -1 }] },
  }
  for (const [what, change] of Object.entries(changes)) {
    test(`refuses ${what}`, () => {
      assert.notDeepEqual(auditHostConfig({ ...request(), ...(change as object) }, policy), [])
    })
  }

  test('refuses a request that lacks any of its fields but the empty ones', () => {
    const empty = new Set(['Privileged', 'AutoRemove', 'DeviceRequests'])
    for (const field of Object.keys(request())) {
      if (empty.has(field)) continue
      const { [field]: _, ...rest } = request()
      assert.notDeepEqual(auditHostConfig(rest, policy), [], field)
    }
  })

  test('refuses a forbidden mount even where the policy names it', () => {
    for (const source of [
      '/',
      '/etc',
      '/etc/shadow',
      '/proc/1',
      '/var/run/docker.sock',
      '/dev/kvm',
    ]) {
      const spec = { ...EXAMPLE, inputs: [{ name: 'x', path: source === '/' ? '/srv/x' : source }] }
      const allowed = policyFor(spec)
      const wrong = {
        ...allowed,
        mounts: allowed.mounts.map((one) => (one.target === '/in/x' ? { ...one, source } : one)),
      }
      const host = createOptions(spec, layoutFor(spec)).HostConfig
      const asked = {
        ...host,
        Mounts: (host?.Mounts ?? []).map((one) =>
          one.Target === '/in/x' ? { ...one, Source: source } : one,
        ),
      }
      assert.notDeepEqual(auditHostConfig(asked, wrong), [], source)
    }
  })

  test('refuses what is no object', () => {
    for (const value of [undefined, null, [], 'x', 7])
      assert.notDeepEqual(auditHostConfig(value, policy), [])
  })

  const inspected = (): Record<string, unknown> => ({
    HostConfig: request(),
    Config: {
      User: '65534:65534',
      Env: ['NVIDIA_VISIBLE_DEVICES=void'],
      OpenStdin: false,
      Tty: false,
    },
    Mounts: policy.mounts.map((one) => ({
      Type: 'bind',
      Source: one.source,
      Destination: one.target,
      RW: !one.readOnly,
    })),
  })

  test('accepts an inspected container as it was asked for', () => {
    assert.deepEqual(auditInspect(inspected(), policy), [])
  })

  test('refuses an inspected container with another user, volume or GPU request', () => {
    const config = { User: '65534:65534', Env: ['NVIDIA_VISIBLE_DEVICES=void'] }
    const wrong: Record<string, unknown>[] = [
      { Config: { ...config, User: 'root' } },
      { Config: { ...config, User: '' } },
      { Config: { ...config, Env: ['NVIDIA_VISIBLE_DEVICES=all'] } },
      { Config: { ...config, Env: [] } },
      { Config: { ...config, OpenStdin: true } },
      {
        Mounts: [
          { Type: 'volume', Source: '/var/lib/docker/volumes/x', Destination: '/data', RW: true },
        ],
      },
      { Mounts: undefined },
      { HostConfig: undefined },
    ]
    for (const change of wrong)
      assert.notDeepEqual(
        auditInspect({ ...inspected(), ...change }, policy),
        [],
        JSON.stringify(change),
      )
  })
})
