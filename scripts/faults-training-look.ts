/** What the show of training looks at from outside of the daemons: the engine, the trainers in it. */
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { ENGINE_SOCKET } from './setup.js'

/** Labels of the daemons' containers; the folder of a run is named by the last. */
const OWNER_LABEL = 'ctd.node'
const WORK_LABEL = 'ctd.work'

/** A running container in which the trainer has not taken the last step of its round yet. */
export interface Training {
  readonly container: string
  readonly owner: string
  readonly round: number
  readonly shard: number
  /** 0 while it loads. */
  readonly step: number
  readonly total: number
}

interface Listed {
  readonly Id: string
  readonly Labels: Readonly<Record<string, string>>
}

/** The containers of these peers that are in the middle of a round's steps right now. */
export async function trainingNow(owners: readonly string[]): Promise<readonly Training[]> {
  const running = await engine<readonly Listed[]>('/containers/json')
  const found: Training[] = []
  for (const { Id, Labels } of running) {
    const owner = Labels[OWNER_LABEL] ?? ''
    const work = Labels[WORK_LABEL]
    if (work === undefined || !owners.includes(owner)) continue
    const task = await readTask(join(dirname(work), 'task.json'))
    const step = await lastStep(join(work, 'progress/progress.jsonl'))
    if (task === undefined || step >= task.total) continue
    found.push({ container: Id, owner, ...task, step })
  }
  return found
}

/** Ids of all containers that the engine has of a peer, running or not. */
export async function containersOf(owner: string): Promise<readonly string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [`${OWNER_LABEL}=${owner}`] }))
  const listed = await engine<readonly Listed[]>(`/containers/json?all=1&filters=${filters}`)
  return listed.map(({ Id }) => Id)
}

/** False for one that is gone, too. */
export async function isRunning(container: string): Promise<boolean> {
  const found = await engine<{ readonly State?: { readonly Running: boolean } }>(
    `/containers/${container}/json`,
  )
  return found.State?.Running === true
}

async function readTask(
  path: string,
): Promise<Pick<Training, 'round' | 'shard' | 'total'> | undefined> {
  // Gone with the container, or not there yet.
  const text = await readFile(path, 'utf8').catch(() => '')
  if (text === '') return undefined
  const task = JSON.parse(text) as {
    readonly kind: string
    readonly startStep: number
    readonly steps: number
    readonly seed: string
  }
  if (task.kind !== 'train') return undefined
  // The rounds of the show have equally many steps.
  const round = Math.round(task.startStep / task.steps)
  return { round, shard: Number(task.seed.split('/').at(-1)), total: task.steps }
}

async function lastStep(path: string): Promise<number> {
  const text = await readFile(path, 'utf8').catch(() => '')
  // What stands behind the last line break is still being written.
  const lines = text.split('\n').slice(0, -1)
  const line = lines.findLast((candidate) => candidate.includes('"step"'))
  return line === undefined ? 0 : (JSON.parse(line) as { step: number }).step
}

/** One question to the engine, as JSON. */
function engine<T>(path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: ENGINE_SOCKET, path }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.once('end', () => resolve(JSON.parse(body === '' ? 'null' : body) as T))
      response.once('error', reject)
    })
    asked.once('error', reject)
    asked.end()
  })
}

const WORDS = [
  ['sea', 'ship', 'sail', 'wave', 'port', 'crew', 'tide', 'shore'],
  ['field', 'corn', 'plough', 'seed', 'barn', 'rain', 'hay', 'mill'],
  ['king', 'crown', 'throne', 'sword', 'court', 'law', 'queen', 'tower'],
]
const WORDS_PER_LINE = 10

/** Lines of words of one of three topics, the same for the same seed. */
export async function writeCorpus(path: string, lines: number, seed: string): Promise<void> {
  const texts = Array.from({ length: lines }, (_, line) => {
    const drawn = createHash('sha256').update(`${seed}/${line}`).digest()
    const words = WORDS[(drawn[0] ?? 0) % WORDS.length] ?? []
    const of = (at: number): string => words[(drawn[at + 1] ?? 0) % words.length] ?? ''
    return Array.from({ length: WORDS_PER_LINE }, (_word, at) => of(at)).join(' ')
  })
  await writeFile(path, `${texts.join('\n')}\n`)
}
