/** The small jobs whose segments are trained: every family of models, on real and made-up data. */
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Course } from '../src/training/course.js'
import type { CourseOptions } from '../src/training/course.js'
import { FAMILY_JOBS } from '../test/unit/family-data.js'

type Lesson = Omit<CourseOptions, 'dataset' | 'seed' | 'rounds' | 'compression' | 'dir'>

/** Segments of a course: its rounds. */
export const ROUNDS = 2
const EPOCHS: Readonly<Record<string, number>> = {
  'embed-tiny': 6,
  'word2vec-small': 12,
  'cnn-small': 20,
  'image-mlp': 20,
  mlp: 10,
}
const exec = promisify(execFile)

/** A piece of real training: one shard of one round. */
export interface Segment {
  readonly name: string
  readonly model: string
  readonly compression: string
  readonly course: Course
  readonly round: number
}

/** Lays out so many courses, of all families in turn, each family with another seed every time. */
export async function layCourses(
  count: number,
  { dir, seed }: { readonly dir: string; readonly seed: string },
): Promise<ReadonlyArray<{ readonly name: string; readonly model: string; course: Course }>> {
  const lessons = await writeLessons(join(dir, 'data'))
  const courses: Array<{ name: string; model: string; course: Course }> = []
  for (let number = 0; number < count; number++) {
    const lesson = lessons[number % lessons.length]
    if (lesson === undefined) break
    const turn = Math.floor(number / lessons.length)
    const name = `${lesson.model}-${turn}`
    const course = await Course.lay({
      ...lesson,
      rounds: ROUNDS,
      seed: `${seed}/${turn}`,
      // The number of families is odd: in the next turn each has the other one.
      compression: number % 2 === 0 ? 'int8' : 'none',
      dir: join(dir, name),
    })
    courses.push({ name, model: lesson.model, course })
  }
  return courses
}

async function writeLessons(
  dir: string,
): Promise<ReadonlyArray<Lesson & { readonly dataset: string }>> {
  await mkdir(dir, { recursive: true })
  const languages = join(dir, 'languages.csv')
  const script = join(import.meta.dirname, 'dataset.ts')
  await exec(process.execPath, ['--import', 'tsx', script, languages])
  const text = join(dir, 'languages.txt')
  const all = await readFile(languages)
  await writeFile(text, all.subarray(0, all.length / 2))
  const lessons: Array<Lesson & { readonly dataset: string }> = [
    { model: 'bert-tiny', dataset: languages, format: 'csv', maxLength: 64, epochs: 1 },
    { model: 'gpt-tiny', dataset: text, format: 'txt', maxLength: 64, epochs: 1 },
  ]
  for (const { dataset, model, format, maxLength, batchSize, learningRate } of FAMILY_JOBS) {
    if (model === 'gpt-tiny') continue
    const path = join(dir, `${model}.${format}`)
    await writeFile(path, dataset)
    const epochs = EPOCHS[model] ?? 3
    lessons.push({ model, dataset: path, format, maxLength, epochs, batchSize, learningRate })
  }
  return lessons
}
