/**
 * Builds the CPU task image and loads it into the engine, if one answers.
 *
 *   npm run image [-- --force] [-- --json]
 *   npm run image -- --test-image     the small image of the container tests
 *   npm run image -- --write-lock     accept the packages of today as the new lock
 *
 * Two layers: the root file system (images/cpu/build-rootfs.sh), built once, and our Python
 * programs, so that a changed program rebuilds 100 KB and not the base. What is already built is
 * kept in `.cache/images` (or CTD_IMAGE_CACHE), keyed by recipe and lock.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import {
  hashLayer,
  writeImageArchive,
  writeLayer,
  type ImageSettings,
  type LayerFile,
  type TarEntry,
  type WrittenImage,
} from '../src/container/image-archive.js'
import { compressZstd } from '../src/container/zstd.js'
import { CtdError, errorCode, errorMessage } from '../src/errors.js'

/** Same as in build-rootfs.sh. */
const CREATED_EPOCH_SECONDS = 1795305600
const ROOT = resolve(import.meta.dirname, '..')
const CPU_FOLDER = join(ROOT, 'images/cpu')
const RECIPE = join(CPU_FOLDER, 'build-rootfs.sh')
const LOCK = join(CPU_FOLDER, 'image.lock')
/** Where a container finds inputs, outputs and progress: made once, so that the root can be read-only. */
const MOUNT_POINTS: readonly TarEntry[] = [
  { type: 'folder', path: 'in', mode: 0o755 },
  { type: 'folder', path: 'out', mode: 0o755 },
  { type: 'folder', path: 'progress', mode: 0o755 },
]
const BUSYBOX_APPLETS =
  'cat chmod cp dd echo false head id ip ln ls mkdir mkfifo sh sleep tail touch tr true wc yes'.split(
    ' ',
  )
const LOCK_WAIT_MS = 30 * 60_000
const PATH_ENV = '/usr/local/bin:/usr/bin:/bin'
const CPU_IMAGE: ImageSettings = {
  name: 'computetorrent/cpu:dev',
  createdEpochSeconds: CREATED_EPOCH_SECONDS,
  command: ['python3'],
  env: { PATH: PATH_ENV, LANG: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1', UCX_LOG_LEVEL: 'fatal' },
  labels: { 'io.computetorrent.image': 'cpu' },
}
const TEST_IMAGE: ImageSettings = {
  name: 'computetorrent/test:dev',
  createdEpochSeconds: CREATED_EPOCH_SECONDS,
  command: ['sh'],
  env: { PATH: PATH_ENV },
  labels: { 'io.computetorrent.image': 'test' },
}

/** What lies beside an archive: the image, and the hash of all it was made from. */
interface BuiltImage extends WrittenImage {
  readonly sourceKey: string
}

const exec = promisify(execFile)

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      force: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'test-image': { type: 'boolean', default: false },
      'write-lock': { type: 'boolean', default: false },
    },
  })
  const cache = resolve(process.env['CTD_IMAGE_CACHE'] ?? join(ROOT, '.cache/images'))
  const interrupt = new AbortController()
  process.once('SIGINT', () => interrupt.abort())
  process.once('SIGTERM', () => interrupt.abort())
  const { signal } = interrupt
  await mkdir(cache, { recursive: true })
  const force = values.force || values['write-lock']
  const unlock = await lockCache(cache, signal)
  let built: Built
  let loaded: string
  try {
    built = values['test-image']
      ? await buildTestImage(cache, force, signal)
      : await buildCpuImage(cache, { force, writeLock: values['write-lock'] }, signal)
    loaded = await loadIntoEngine(built.image, built.archive, signal)
  } finally {
    await unlock()
  }
  if (values.json) {
    console.log(JSON.stringify({ ...built, loaded }))
  } else {
    console.log(
      `${built.image.name}  ${Math.round(built.image.sizeBytes / 1e6)} MB  ${built.archive}`,
    )
    console.log(`image id      ${built.image.configDigest}`)
    console.log(`manifest      ${built.image.manifestDigest}`)
    console.log(`archive       ${built.image.archiveSha256}`)
    console.log(`in the engine ${loaded}`)
  }
}

/** One build at a time: test files start together. @returns what gives the lock back */
async function lockCache(cache: string, signal: AbortSignal): Promise<() => Promise<void>> {
  const path = join(cache, 'lock')
  const deadlineMs = Date.now() + LOCK_WAIT_MS
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' })
      return () => rm(path, { force: true })
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      const holder = Number(await readFile(path, 'utf8').catch(() => ''))
      if (holder > 0 && !isRunning(holder)) await rm(path, { force: true })
      if (Date.now() > deadlineMs) {
        throw new CtdError('IMAGE_BUILD_BUSY', `another build (process ${holder}) does not end`, {
          hint: `stop it, or delete ${path}`,
          cause: error,
        })
      }
    }
    await delay(200, undefined, { signal })
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

interface Built {
  readonly image: WrittenImage
  readonly archive: string
  readonly fresh: boolean
}

async function buildCpuImage(
  cache: string,
  options: { readonly force: boolean; readonly writeLock: boolean },
  signal: AbortSignal,
): Promise<Built> {
  const base = await buildBase(cache, options, signal)
  const programs = await programEntries()
  const sourceKey = keyOf(base.diffId, ...programs.map(entryKey))
  const plan = { cache, stem: 'cpu', settings: CPU_IMAGE, sourceKey, force: options.force }
  return writeOnce(plan, signal, async () => {
    const path = join(cache, 'cpu-programs.tar')
    return [base, await writeLayer(programs, { path, epochSeconds: CREATED_EPOCH_SECONDS }, signal)]
  })
}

/** The big layer; built once per recipe and lock. */
async function buildBase(
  cache: string,
  options: { readonly force: boolean; readonly writeLock: boolean },
  signal: AbortSignal,
): Promise<LayerFile> {
  const key = keyOf(await readFile(RECIPE), options.writeLock ? '' : await readFile(LOCK))
  const note = join(cache, 'rootfs.json')
  const path = join(cache, 'rootfs.tar')
  const known = await readJson<LayerFile & { readonly key: string }>(note)
  if (!options.force && known?.key === key && (await sizeOf(path)) === known.sizeBytes) {
    return { path, sizeBytes: known.sizeBytes, diffId: known.diffId }
  }
  await assertCanBuild(signal)
  const fresh = join(cache, 'rootfs.new.tar')
  await runShown(RECIPE, [fresh, join(cache, 'debs')], signal)
  await compareLock(`${fresh}.lock`, options.writeLock)
  await rename(fresh, path)
  await rm(`${fresh}.lock`)
  const layer = await hashLayer(path, signal)
  const writtenKey = keyOf(await readFile(RECIPE), await readFile(LOCK))
  await writeFile(note, JSON.stringify({ ...layer, key: writtenKey }))
  return layer
}

/** Says how the packages differ from the lock; a difference is no error, but another digest. */
async function compareLock(installedPath: string, accept: boolean): Promise<void> {
  if (accept) {
    await copyFile(installedPath, LOCK)
    return
  }
  const lines = async (path: string): Promise<Set<string>> =>
    new Set((await readFile(path, 'utf8')).split('\n').filter((line) => line !== ''))
  const installed = await lines(installedPath)
  const locked = await lines(LOCK)
  const gone = [...locked].filter((line) => !installed.has(line))
  const added = [...installed].filter((line) => !locked.has(line))
  if (gone.length + added.length === 0) return
  for (const line of gone) console.error(`- ${line}`)
  for (const line of added) console.error(`+ ${line}`)
  console.error(
    `The Debian archive has moved on: ${added.length} packages differ from images/cpu/image.lock, so ` +
      'this image has another digest than the released one and other peers will not run it. To get ' +
      'the released image, fetch its archive from a peer; to release this one, run with --write-lock.',
  )
}

async function programEntries(): Promise<TarEntry[]> {
  const names = (await readdir(CPU_FOLDER)).filter((name) => name.endsWith('.py')).sort()
  const programs: TarEntry[] = []
  for (const name of names) {
    const content = await readFile(join(CPU_FOLDER, name))
    const executable = content.subarray(0, 2).toString() === '#!'
    programs.push({
      type: 'file',
      path: `opt/ctd/${name}`,
      mode: executable ? 0o755 : 0o644,
      content,
    })
  }
  return [
    ...MOUNT_POINTS,
    { type: 'folder', path: 'opt', mode: 0o755 },
    { type: 'folder', path: 'opt/ctd', mode: 0o755 },
    ...programs,
  ]
}

/** One static busybox from this host's Debian: small enough to load in a second. */
async function buildTestImage(cache: string, force: boolean, signal: AbortSignal): Promise<Built> {
  const binary = join(cache, 'busybox')
  if (force || !existsSync(binary)) await fetchBusybox(binary, signal)
  const entries: TarEntry[] = [
    ...MOUNT_POINTS,
    { type: 'folder', path: 'tmp', mode: 0o1777 },
    { type: 'folder', path: 'bin', mode: 0o755 },
    { type: 'file', path: 'bin/busybox', mode: 0o755, content: await readFile(binary) },
    ...BUSYBOX_APPLETS.map((name): TarEntry => ({
      type: 'link',
      path: `bin/${name}`,
      target: 'busybox',
    })),
  ]
  const sourceKey = keyOf(...entries.map(entryKey))
  return writeOnce(
    { cache, stem: 'test-image', settings: TEST_IMAGE, sourceKey, force },
    signal,
    async () => {
      const path = join(cache, 'test-layer.tar')
      return [await writeLayer(entries, { path, epochSeconds: CREATED_EPOCH_SECONDS }, signal)]
    },
  )
}

async function fetchBusybox(target: string, signal: AbortSignal): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ctd-busybox-'))
  try {
    await exec('apt-get', ['download', '-qq', 'busybox-static'], { cwd: folder, signal })
    const [deb] = await readdir(folder)
    if (deb === undefined) throw new CtdError('NO_BUSYBOX', 'apt-get download brought nothing')
    await exec('dpkg', ['-x', join(folder, deb), join(folder, 'tree')], { signal })
    const found = ['bin/busybox', 'usr/bin/busybox']
      .map((path) => join(folder, 'tree', path))
      .find(existsSync)
    if (found === undefined) throw new CtdError('NO_BUSYBOX', `no busybox inside ${deb}`)
    await copyFile(found, target)
  } catch (error) {
    if (error instanceof CtdError || signal.aborted) throw error
    throw new CtdError('NO_BUSYBOX', `cannot fetch busybox-static: ${errorMessage(error)}`, {
      hint: 'the test image needs Debian or Ubuntu; run apt-get update and try again',
      cause: error,
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface ArchivePlan {
  readonly cache: string
  readonly stem: string
  readonly settings: ImageSettings
  readonly sourceKey: string
  readonly force: boolean
}

/** Writes the archive and its JSON, unless both are there and made from the same. */
async function writeOnce(
  plan: ArchivePlan,
  signal: AbortSignal,
  layers: () => Promise<readonly LayerFile[]>,
): Promise<Built> {
  const archive = join(plan.cache, `${plan.stem}.tar`)
  const note = join(plan.cache, plan.stem === 'cpu' ? 'image.json' : `${plan.stem}.json`)
  const sourceKey = keyOf(plan.sourceKey, JSON.stringify(plan.settings))
  const known = await readJson<BuiltImage>(note)
  if (
    !plan.force &&
    known?.sourceKey === sourceKey &&
    (await sizeOf(archive)) === known.sizeBytes
  ) {
    if (!existsSync(`${archive}.zst`)) await compress(archive, signal)
    return { image: known, archive, fresh: false }
  }
  const image = await writeImageArchive(plan.settings, await layers(), archive, signal)
  await compress(archive, signal)
  await writeFile(note, `${JSON.stringify({ ...image, sourceKey }, null, 2)}\n`)
  return { image, archive, fresh: true }
}

/** As peers fetch it; without a compressor on this machine the plain archive travels. */
async function compress(archive: string, signal: AbortSignal): Promise<void> {
  const smaller = await compressZstd(archive, signal)
  const target = `${archive}.zst`
  if (smaller === undefined) {
    await rm(target, { force: true })
    return
  }
  await pipeline(smaller, createWriteStream(`${target}.partial`), { signal })
  await rename(`${target}.partial`, target)
}

async function loadIntoEngine(
  image: WrittenImage,
  archive: string,
  signal: AbortSignal,
): Promise<'loaded' | 'already there' | 'no engine answers'> {
  const runtime = new DockerRuntime()
  try {
    if (await runtime.hasImage(image, signal)) return 'already there'
    await runtime.loadImage(image, createReadStream(archive), signal)
    return 'loaded'
  } catch (error) {
    if (errorCode(error) === 'NO_CONTAINER_ENGINE') return 'no engine answers'
    throw error
  }
}

/** @throws CtdError CANNOT_BUILD_IMAGE naming what is missing */
async function assertCanBuild(signal: AbortSignal): Promise<void> {
  const has = (command: string): Promise<boolean> =>
    exec('sh', ['-c', `command -v ${command}`], { signal }).then(
      () => true,
      () => false,
    )
  const hint = 'build it on Debian 12 or 13 (or Ubuntu) as root, or fetch the archive from a peer'
  if (!(await has('apt-get'))) {
    throw new CtdError(
      'CANNOT_BUILD_IMAGE',
      'building the image needs apt and mmdebstrap; this is no Debian',
      { hint },
    )
  }
  if (process.getuid?.() !== 0) {
    throw new CtdError('CANNOT_BUILD_IMAGE', 'building the image needs root', { hint })
  }
  if (!(await has('mmdebstrap'))) {
    await runShown('apt-get', ['update', '-qq'], signal)
    await runShown(
      'apt-get',
      ['install', '-y', '-qq', '--no-install-recommends', 'mmdebstrap'],
      signal,
    )
  }
}

/** Runs a command with all its output on our standard error. */
async function runShown(
  command: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(command, args, {
    stdio: ['ignore', 2, 2],
    signal,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  await new Promise<void>((done, fail) => {
    child.once('error', fail)
    child.once('exit', (code) => {
      if (code === 0) done()
      else fail(new CtdError('IMAGE_BUILD_FAILED', `${command} ended with ${code ?? 'a signal'}`))
    })
  })
}

function entryKey(entry: TarEntry): string {
  return entry.type === 'file'
    ? `${entry.path} ${entry.mode} ${keyOf(entry.content)}`
    : JSON.stringify(entry)
}

function keyOf(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(createHash('sha256').update(part).digest())
  return hash.digest('hex')
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (found) => found.size,
    () => -1,
  )
}

/** Our own notes beside the archives; anything unreadable counts as absent. */
async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T
  } catch {
    return undefined
  }
}

main().catch((error: unknown) => {
  console.error(errorMessage(error))
  if (error instanceof CtdError && error.hint !== undefined) console.error(error.hint)
  process.exitCode = errorCode(error) === 'CANNOT_BUILD_IMAGE' ? 3 : 1
})
