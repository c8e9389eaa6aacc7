/** Which primitives the running schedule uses. One schedule runs at a time in a process. */
import type { Random } from '../random.js'

export const mode: { isReal: boolean; random: Random | undefined } = {
  isReal: true,
  random: undefined,
}
