/** Puts `mutate-load.mjs` in place; to be imported before tsx. The edit comes from `mutants.ts`. */
import { register } from 'node:module'

const { CTD_MUTATION } = process.env
if (CTD_MUTATION === undefined) throw new Error('CTD_MUTATION names no edit')
register('./mutate-load.mjs', import.meta.url, { data: JSON.parse(CTD_MUTATION) })
