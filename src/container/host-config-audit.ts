/**
 * Judges what a container is about to be given, before it starts: the request we built, and again
 * what the engine recorded of it. Knows nothing of how the request is built. Every field has a
 * rule; a field without one must be empty, so that a new engine's new field is refused until
 * somebody has thought about it.
 */

/** All that one run may have. */
export interface ContainerPolicy {
  readonly mounts: readonly AllowedMount[]
  readonly memoryBytesMax: number
  readonly cpusMax: number
  readonly pidsMax: number
  readonly shmBytesMax: number
  readonly tmpBytesMax: number
  readonly runtimeName: string
  readonly user: string
  readonly gpuUuids: readonly string[]
}

export interface AllowedMount {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
}

type Rule = (value: unknown, policy: ContainerPolicy) => boolean

/** Never a mount source, whatever the caller's policy says; nor anything inside the last group. */
const FORBIDDEN_SOURCES = [/^\/$/, /^\/(bin|boot|etc|home|lib|lib64|root|sbin|usr|var)\/?$/]
const FORBIDDEN_TREES = /^\/(proc|sys|dev|boot|etc|run|var\/run|var\/lib\/docker)(\/|$)/
const FORBIDDEN_TARGETS = /^\/(proc|sys|dev|etc|bin|sbin|lib|lib64|usr|var|root)?(\/|$)/

const RULES: Readonly<Record<string, Rule>> = {
  Privileged: (value) => isEmpty(value),
  ReadonlyRootfs: (value) => value === true,
  NetworkMode: (value) => value === 'none',
  IpcMode: (value) => value === 'private' || value === 'none',
  CgroupnsMode: (value) => value === 'private',
  CapDrop: (value) => isListOf(value, (item) => item === 'ALL'),
  SecurityOpt: (value) =>
    isListOf(value, (item) => /^no-new-privileges([:=]true)?$/.test(String(item))),
  Init: (value) => value === true,
  Runtime: (value, policy) => value === policy.runtimeName,
  RestartPolicy: (value) =>
    field(value, 'Name') === 'no' && isEmpty(field(value, 'MaximumRetryCount')),
  Memory: (value, policy) => isWithin(value, 1, policy.memoryBytesMax),
  MemorySwap: (value, policy) => isWithin(value, 1, policy.memoryBytesMax),
  NanoCpus: (value, policy) => isWithin(value, 1, policy.cpusMax * 1e9),
  PidsLimit: (value, policy) => isWithin(value, 1, policy.pidsMax),
  ShmSize: (value, policy) => isWithin(value, 0, policy.shmBytesMax),
  OomScoreAdj: (value) => isWithin(value, 0, 1000),
  Ulimits: isUlimits,
  Tmpfs: isTmpfs,
  Mounts: isMounts,
  LogConfig: isLogConfig,
  DeviceRequests: isDeviceRequests,
}
/** Rules for fields that may be missing, but not be anything else. */
const OPTIONAL_RULES: Readonly<Record<string, Rule>> = {
  // Absent means the engine's default list; an empty list would unmask /proc and /sys.
  MaskedPaths: (value) => value === null || includesAll(value, ['/proc/kcore', '/sys/firmware']),
  ReadonlyPaths: (value) =>
    value === null || includesAll(value, ['/proc/sys', '/proc/sysrq-trigger']),
  MemorySwappiness: (value) => value === null || value === -1 || value === 0,
  ConsoleSize: (value) => isListOf(value, (item) => item === 0),
}

/**
 * @param hostConfig - the engine's `HostConfig`, as requested or as inspected
 * @returns what is wrong, one plain sentence each; empty when all is as it must be
 */
export function auditHostConfig(hostConfig: unknown, policy: ContainerPolicy): string[] {
  if (!isRecord(hostConfig)) return ['HostConfig is missing']
  const faults: string[] = []
  for (const [name, rule] of Object.entries(RULES)) {
    if (!rule(hostConfig[name], policy))
      faults.push(`HostConfig.${name} is ${show(hostConfig[name])}`)
  }
  for (const [name, value] of Object.entries(hostConfig)) {
    if (Object.hasOwn(RULES, name)) continue
    const rule = Object.hasOwn(OPTIONAL_RULES, name) ? OPTIONAL_RULES[name] : undefined
    const fine = value === undefined || (rule === undefined ? isEmpty(value) : rule(value, policy))
    if (!fine) faults.push(`HostConfig.${name} is ${show(value)}`)
  }
  if (hostConfig['Memory'] !== hostConfig['MemorySwap'])
    faults.push('HostConfig.MemorySwap allows swap')
  return faults
}

/** The same for a whole inspected container: its user, its mounts and its environment too. */
export function auditInspect(inspected: unknown, policy: ContainerPolicy): string[] {
  if (!isRecord(inspected)) return ['the engine described no container']
  const faults = auditHostConfig(inspected['HostConfig'], policy)
  const config = inspected['Config']
  if (field(config, 'User') !== policy.user)
    faults.push(`Config.User is ${show(field(config, 'User'))}`)
  if (!isEmpty(field(config, 'OpenStdin')) || !isEmpty(field(config, 'Tty'))) {
    faults.push('Config opens standard input or a terminal')
  }
  faults.push(...auditEnv(field(config, 'Env'), policy))
  const mounts = inspected['Mounts']
  if (!Array.isArray(mounts)) return [...faults, 'Mounts is missing']
  for (const mount of mounts) {
    const found = {
      source: field(mount, 'Source'),
      target: field(mount, 'Destination'),
      readOnly: field(mount, 'RW') === false,
    }
    const tmp = field(mount, 'Type') === 'tmpfs' && found.target === '/tmp'
    const allowed = policy.mounts.some((one) => isSameMount(one, found))
    if (!tmp && !(field(mount, 'Type') === 'bind' && allowed))
      faults.push(`Mounts holds ${show(mount)}`)
  }
  return faults
}

function auditEnv(env: unknown, policy: ContainerPolicy): string[] {
  if (!Array.isArray(env)) return ['Config.Env is missing']
  const devices = env.filter((item) => String(item).startsWith('NVIDIA_VISIBLE_DEVICES='))
  if (policy.gpuUuids.length > 0) return []
  return devices.length === 1 && devices[0] === 'NVIDIA_VISIBLE_DEVICES=void'
    ? []
    : ['Config.Env lets a CPU task ask for GPUs']
}

function isMounts(value: unknown, policy: ContainerPolicy): boolean {
  if (!Array.isArray(value) || value.length !== policy.mounts.length) return false
  const targets = new Set(value.map((mount) => field(mount, 'Target')))
  if (targets.size !== value.length) return false
  return value.every((mount) => {
    const found = {
      source: field(mount, 'Source'),
      target: field(mount, 'Target'),
      readOnly: field(mount, 'ReadOnly') === true,
    }
    const propagation = field(field(mount, 'BindOptions'), 'Propagation')
    return (
      field(mount, 'Type') === 'bind' &&
      (propagation === 'rprivate' || propagation === 'private') &&
      isEmpty(field(mount, 'VolumeOptions')) &&
      isEmpty(field(mount, 'TmpfsOptions')) &&
      isSafeSource(found.source) &&
      isSafeTarget(found.target) &&
      policy.mounts.some((allowed) => isSameMount(allowed, found))
    )
  })
}

function isSafeSource(source: unknown): boolean {
  if (typeof source !== 'string' || !source.startsWith('/') || source.split('/').includes('..'))
    return false
  if (FORBIDDEN_TREES.test(source) || source.endsWith('.sock')) return false
  return !FORBIDDEN_SOURCES.some((pattern) => pattern.test(source))
}

function isSafeTarget(target: unknown): boolean {
  return (
    typeof target === 'string' &&
    !target.split('/').includes('..') &&
    !FORBIDDEN_TARGETS.test(target)
  )
}

function isSameMount(
  allowed: AllowedMount,
  found: { readonly source: unknown; readonly target: unknown; readonly readOnly: boolean },
): boolean {
  return (
    allowed.source === found.source &&
    allowed.target === found.target &&
    allowed.readOnly === found.readOnly
  )
}

function isTmpfs(value: unknown, policy: ContainerPolicy): boolean {
  if (!isRecord(value) || Object.keys(value).join() !== '/tmp') return false
  const options = String(value['/tmp']).split(',')
  const sizeMiB = Number(
    /^size=(\d+)m$/.exec(options.find((one) => one.startsWith('size=')) ?? '')?.[1],
  )
  return (
    ['noexec', 'nosuid', 'nodev'].every((option) => options.includes(option)) &&
    !options.some((option) => ['exec', 'suid', 'dev'].includes(option)) &&
    isWithin(sizeMiB * 1024 ** 2, 1, policy.tmpBytesMax)
  )
}

function isUlimits(value: unknown, policy: ContainerPolicy): boolean {
  if (!Array.isArray(value)) return false
  const maxima: Readonly<Record<string, number>> = {
    core: 0,
    nofile: 65_536,
    nproc: 65_536,
    fsize: 2 ** 50,
  }
  const names = new Set(value.map((limit) => field(limit, 'Name')))
  if (names.size !== value.length || !names.has('core')) return false
  return value.every((limit) => {
    const name = String(field(limit, 'Name'))
    const unlimited = name === 'memlock' && policy.gpuUuids.length > 0
    const max = name === 'memlock' ? 0 : maxima[name]
    if (unlimited) return true
    return (
      max !== undefined &&
      isWithin(field(limit, 'Soft'), 0, max) &&
      isWithin(field(limit, 'Hard'), 0, max)
    )
  })
}

function isLogConfig(value: unknown): boolean {
  const size = /^(\d+)m$/.exec(String(field(field(value, 'Config'), 'max-size')))
  return field(value, 'Type') === 'json-file' && size !== null && isWithin(Number(size[1]), 1, 64)
}

function isDeviceRequests(value: unknown, policy: ContainerPolicy): boolean {
  if (isEmpty(value)) return policy.gpuUuids.length === 0
  if (!Array.isArray(value) || value.length !== 1) return false
  const [request] = value
  const ids = field(request, 'DeviceIDs')
  const names = policy.gpuUuids.map((uuid) =>
    field(request, 'Driver') === 'cdi' ? `nvidia.com/gpu=${uuid}` : uuid,
  )
  const capabilities = field(request, 'Capabilities')
  const known = ['gpu', 'compute', 'utility']
  return (
    ['cdi', 'nvidia'].includes(String(field(request, 'Driver'))) &&
    isEmpty(field(request, 'Count')) &&
    isEmpty(field(request, 'Options')) &&
    Array.isArray(ids) &&
    names.length > 0 &&
    ids.length === names.length &&
    names.every((name) => ids.includes(name)) &&
    (isEmpty(capabilities) ||
      isListOf(capabilities, (group) => isListOf(group, (one) => known.includes(String(one)))))
  )
}

function isListOf(value: unknown, test: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.length > 0 && value.every(test)
}

function includesAll(value: unknown, wanted: readonly string[]): boolean {
  return Array.isArray(value) && wanted.every((item) => value.includes(item))
}

function isWithin(value: unknown, min: number, max: number): boolean {
  return typeof value === 'number' && value >= min && value <= max
}

/** Null, nothing, zero, false, and lists and objects of nothing. */
function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0
  if (isRecord(value)) return Object.keys(value).length === 0
  return value === undefined || value === null || value === '' || value === 0 || value === false
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function field(value: unknown, name: string): unknown {
  return isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined
}

function show(value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value) ?? String(value)).slice(0, 300)
}
