/**
 * Measures. Only `training` knows promises, and ends with 1 where one is missed.
 *
 *   npm run bench [-- protocol] [options]    what a verified task and an idle daemon cost
 *   npm run bench -- bytes [options]         moving a file, beside other ways to move it
 *   npm run bench -- training [options]      real models, beside what one process reaches alone
 *
 * The head of each `bench-NAME.ts` lists its options.
 */
import { errorCode, errorMessage } from '../src/errors.js'

interface Bench {
  readonly main: (args: string[]) => Promise<void>
}

const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  protocol: () => import('./bench-protocol.js'),
  bytes: () => import('./bench-bytes.js'),
  training: () => import('./bench-training.js'),
}

const [first = '', ...rest] = process.argv.slice(2)
const isNamed = first !== '' && !first.startsWith('-')
const bench = BENCHES[isNamed ? first : 'protocol']
if (bench === undefined) {
  console.error(`there is no bench "${first}": ${Object.keys(BENCHES).join(', ')}`)
  process.exitCode = 2
} else {
  try {
    await (await bench()).main(isNamed ? rest : process.argv.slice(2))
  } catch (error) {
    console.error(`error[${errorCode(error)}]: ${errorMessage(error)}`)
    process.exitCode = 1
  }
}
