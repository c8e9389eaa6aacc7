/**
 * The host side of one run: the private folder with `in`, `out` and `progress`. As root, `out` is an
 * ext4 file of the allowed size, mounted, so that a full output costs the task and not the host;
 * mounted before the run and never again after it, since its bytes are then a stranger's. Without
 * root it is a plain folder whose size is watched.
 */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  open,
  opendir,
  readFile,
  rm,
  rmdir,
  statfs,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CtdError, errorMessage } from '../errors.js'
import { CONTAINER_LIMITS as LIMITS, type TaskInput, type TaskSpec } from './container-runtime.js'

export interface WorkFolder {
  readonly inDir: string
  readonly outDir: string
  readonly progressDir: string
  /** The inputs as they are to be bound: each readable by the task's user. */
  readonly inputs: readonly TaskInput[]
  /** `outDir` cannot grow beyond its size. */
  readonly capped: boolean
}

const exec = promisify(execFile)
/** What ext4 needs for itself, beyond what the task may write. */
const EXT4_EXTRA_MIB = 8
const EXT4_EXTRA_SHARE = 0.05
const COMMAND_TIMEOUT_MS = 60_000
const INPUT_ENTRIES_MAX = 100_000

/** Whether this process may mount; decided by trying, once. */
export class MountAbility {
  #possible = process.getuid?.() === 0

  get possible(): boolean {
    return this.#possible
  }

  denied(): void {
    this.#possible = false
  }
}

/**
 * Makes the folder of a run, empty, whatever an earlier run left there.
 *
 * @throws CtdError INPUT_UNREADABLE when an input is missing, a link, or closed to the task's user
 */
export async function prepareWorkFolder(
  spec: TaskSpec,
  mounts: MountAbility,
  signal: AbortSignal,
): Promise<WorkFolder> {
  await removeWorkFolder(spec.workDir)
  const folder = (name: string): string => join(spec.workDir, name)
  await mkdir(spec.workDir, { recursive: true, mode: 0o700 })
  for (const name of ['in', 'out', 'progress', 'copies']) await mkdir(folder(name))
  const inputs: TaskInput[] = []
  for (const input of spec.inputs) inputs.push(await prepareInput(input, spec.workDir, signal))
  const capped = mounts.possible && (await mountCapped(spec, mounts, signal))
  // The task runs as a user of its own; the folder around keeps other local users out.
  await chmod(folder('out'), 0o777)
  await chmod(folder('progress'), 0o777)
  return {
    inDir: folder('in'),
    outDir: folder('out'),
    progressDir: folder('progress'),
    inputs,
    capped,
  }
}

/** Unmounts whatever is mounted inside and deletes the folder. Fine when there is none. */
export async function removeWorkFolder(workDir: string): Promise<void> {
  for (const mount of await mountsInside(workDir)) await unmount(mount.path)
  await rm(workDir, { recursive: true, force: true, maxRetries: 3, retryDelay: 100 })
}

/** Whether a path that a container's label names is a work folder: labels can be set by others. */
export async function isWorkFolder(path: string): Promise<boolean> {
  const parts = ['in', 'out', 'progress', 'copies'].map((name) => lstat(join(path, name)))
  return (await Promise.allSettled(parts)).every(
    (part) => part.status === 'fulfilled' && part.value.isDirectory(),
  )
}

/**
 * Finds the work folders of an owner by the label its progress mounts bear: they outlive the
 * process that made them, and the containers.
 */
export async function mountedWorkFolders(
  owner: string,
): Promise<readonly { readonly taskKey: string; readonly workDir: string }[]> {
  const found: { taskKey: string; workDir: string }[] = []
  for (const mount of await listMounts()) {
    const [mark, mountOwner, taskKey] = mount.source.split(':')
    if (mark !== 'ctd' || mountOwner !== owner || taskKey === undefined) continue
    if (mount.path.endsWith('/progress')) {
      found.push({ taskKey, workDir: mount.path.slice(0, -'/progress'.length) })
    }
  }
  return found
}

/** Whether the capped output is full: a task that ignored the error left a cut file behind. */
export async function isFull(outDir: string): Promise<boolean> {
  const { bavail, bsize, ffree } = await statfs(outDir)
  return bavail * bsize < 64 * 1024 || ffree === 0
}

/** Bytes of all entries in a folder, as far as `stopAt`; links count as themselves. */
export async function folderBytes(folder: string, stopAt: number): Promise<number> {
  let total = 0
  const queue = [folder]
  for (let next = queue.pop(); next !== undefined && total <= stopAt; next = queue.pop()) {
    const entries = await opendir(next).catch(() => undefined)
    if (entries === undefined) continue // Gone again meanwhile.
    for await (const entry of entries) {
      const path = join(next, entry.name)
      const found = await lstat(path).catch(() => undefined)
      // An empty file costs the host an inode; count it, so that a flood of them ends too.
      total += Math.max(4096, found?.blocks === undefined ? 0 : found.blocks * 512)
      if (found?.isDirectory() === true) queue.push(path)
      if (total > stopAt) break
    }
  }
  return total
}

/** Makes the point the input is bound to, and a copy of it where its mode keeps the task out. */
async function prepareInput(
  input: TaskInput,
  workDir: string,
  signal: AbortSignal,
): Promise<TaskInput> {
  const refuse = (why: string, cause?: unknown): CtdError =>
    new CtdError('INPUT_UNREADABLE', `input ${input.name} ${why}`, {
      fields: { input: input.name },
      cause,
    })
  const found = await lstat(input.path).catch((error: unknown) => {
    throw refuse('is not there', error)
  })
  const target = join(workDir, 'in', input.name)
  if (found.isDirectory()) {
    await mkdir(target)
    if (!(await isOpenTree(input.path, signal)))
      throw refuse('holds files that the task may not read')
    return input
  }
  if (!found.isFile()) throw refuse('is neither a file nor a folder')
  await writeFile(target, '')
  if ((found.mode & 0o004) !== 0) return input
  const copy = join(workDir, 'copies', input.name)
  await copyFile(input.path, copy, constants.COPYFILE_FICLONE)
  await chmod(copy, 0o444)
  return { name: input.name, path: copy }
}

/** Everyone may read every file and enter every folder of the tree. */
async function isOpenTree(root: string, signal: AbortSignal): Promise<boolean> {
  const queue = [root]
  let entries = 0
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    signal.throwIfAborted()
    const found = await lstat(next)
    const need = found.isDirectory() ? 0o005 : 0o004
    if (!found.isSymbolicLink() && (found.mode & need) !== need) return false
    if (!found.isDirectory()) continue
    for await (const entry of await opendir(next)) {
      entries += 1
      if (entries > INPUT_ENTRIES_MAX) return false
      queue.push(join(next, entry.name))
    }
  }
  return true
}

/** @returns false, and remembers it, where this host does not let us mount */
async function mountCapped(
  spec: TaskSpec,
  mounts: MountAbility,
  signal: AbortSignal,
): Promise<boolean> {
  const label = `ctd:${spec.owner}:${spec.taskKey}`
  const progressDir = join(spec.workDir, 'progress')
  const outDir = join(spec.workDir, 'out')
  const options = 'nodev,nosuid,noexec'
  try {
    const size = `size=${LIMITS.progressMiB}m,nr_inodes=64,mode=0777`
    await run('mount', ['-t', 'tmpfs', '-o', `${options},${size}`, label, progressDir], signal)
    await formatOutput(join(spec.workDir, 'out.ext4'), spec.outMiB, signal)
    await run(
      'mount',
      ['-t', 'ext4', '-o', `loop,${options}`, join(spec.workDir, 'out.ext4'), outDir],
      signal,
    )
    await rmdir(join(outDir, 'lost+found')).catch(() => undefined)
    return true
  } catch (error) {
    if (signal.aborted) throw error
    mounts.denied()
    for (const mount of await mountsInside(spec.workDir)) await unmount(mount.path)
    await rm(join(spec.workDir, 'out.ext4'), { force: true })
    return false
  }
}

async function formatOutput(path: string, outMiB: number, signal: AbortSignal): Promise<void> {
  const sizeMiB = outMiB + Math.max(EXT4_EXTRA_MIB, Math.ceil(outMiB * EXT4_EXTRA_SHARE))
  const file = await open(path, 'wx', 0o600)
  try {
    await file.truncate(sizeMiB * 1024 ** 2)
  } finally {
    await file.close()
  }
  // No journal and no reserve: the file lives as long as one task.
  await run(
    'mkfs.ext4',
    ['-q', '-F', '-m', '0', '-O', '^has_journal', '-E', 'nodiscard', path],
    signal,
  )
}

async function unmount(path: string): Promise<void> {
  const withoutSignal = new AbortController().signal
  try {
    await run('umount', [path], withoutSignal)
  } catch {
    // Still busy, for example a container that is being torn down: detach it now, free it then.
    await run('umount', ['-l', path], withoutSignal)
  }
}

interface Mount {
  readonly path: string
  readonly source: string
}

/** Newest first, so that they can be unmounted in this order. */
async function mountsInside(folder: string): Promise<Mount[]> {
  const mounts = await listMounts()
  return mounts.filter((mount) => mount.path.startsWith(`${folder}/`)).reverse()
}

/** The mounts of this process in the order they were made (proc(5), mountinfo). */
async function listMounts(): Promise<Mount[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
  const mounts: Mount[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    const source = fields[fields.indexOf('-') + 2]
    const path = fields[4]
    if (path !== undefined && source !== undefined)
      mounts.push({ path: unescape(path), source: unescape(source) })
  }
  return mounts
}

function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
}

async function run(command: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  try {
    await exec(command, [...args], { signal, timeout: COMMAND_TIMEOUT_MS })
  } catch (error) {
    if (signal.aborted) throw error
    throw new CtdError('COMMAND_FAILED', `${command}: ${errorMessage(error)}`, { cause: error })
  }
}
