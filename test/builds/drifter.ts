/**
 * An executor whose arithmetic differs in the last digits, as that of unlike machines does; under
 * the name of a cheat it also cheats. Changes the F32 tensor `w` of `/out/delta.safetensors`, and the
 * number `estimate` of `/out/metrics.json`: by a thousandth at most, under the name `far` by one.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { HOME, replaceIn, startTestBuild } from './start.js'

const NAME = basename(HOME)
/** Relative to numbers of size one. */
const DRIFT = 2e-5

type Change = (value: number, index: number) => number

const CHEATS: Readonly<Record<string, Change>> = {
  skips: (value) => value * 0.95,
  scales: (value) => value * 1.01,
  'other-data': (_, index) => Math.sin(index * index),
  input: () => 0,
  edits: (value, index) => (index === 777 ? value + 20 : value),
}

const drift: Change = (value, index) =>
  value + DRIFT * Math.sin((index + 1) * (NAME.charCodeAt(0) + 0.5 * NAME.length))

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const outcome = await real.run(spec, on, signal)
        const isTensors = outcome.files.some(({ path }) => path === 'delta.safetensors')
        if (isTensors) await change(join(outcome.outDir, 'delta.safetensors'))
        const isEstimate = outcome.files.some(({ path }) => path === 'metrics.json')
        if (isEstimate) await estimate(join(outcome.outDir, 'metrics.json'))
        return outcome
      },
    }),
})

async function change(path: string): Promise<void> {
  const bytes = await readFile(path)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const cheat = CHEATS[NAME] ?? ((value: number) => value)
  for (let at = start; at + 4 <= bytes.length; at += 4) {
    const index = (at - start) / 4
    bytes.writeFloatLE(drift(cheat(bytes.readFloatLE(at), index), index), at)
  }
  await writeFile(path, bytes)
}

async function estimate(path: string): Promise<void> {
  const found = JSON.parse(await readFile(path, 'utf8')) as { readonly estimate: number }
  const by = NAME === 'far' ? 1 : 1e-3 * Math.sin(NAME.charCodeAt(0))
  await writeFile(path, JSON.stringify({ estimate: found.estimate + by }))
}
