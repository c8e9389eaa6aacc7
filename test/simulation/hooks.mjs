/**
 * Loader of the simulator: the production modules get other primitives beneath them, and are
 * themselves unchanged. Signatures and the VRF become hashes that cost microseconds (or stay real,
 * see `primitives/mode.ts`), random bytes come from the seed, and what is pure and the same for
 * every peer (an opened envelope, an election) is computed once.
 */
const REPLACED = [
  { of: '/src/wire/envelope.ts', specifier: 'node:crypto', by: './primitives/signature.ts' },
  { of: '/src/executor/replica.ts', specifier: 'node:crypto', by: './primitives/random-bytes.ts' },
  {
    of: '/src/requester/requester.ts',
    specifier: 'node:crypto',
    by: './primitives/random-bytes.ts',
  },
]
/** Whole modules with a stand-in that calls the real one. */
const MODULES = [
  { url: '/src/protocol/vrf.ts', by: './primitives/vrf.ts' },
  { url: '/src/wire/envelope.ts', by: './primitives/envelope.ts' },
  { url: '/src/wire/ids.ts', by: './primitives/ids.ts' },
  { url: '/src/protocol/ballot.ts', by: './primitives/ballot.ts' },
  { url: '/src/protocol/integer.ts', by: './primitives/integer.ts' },
  { url: '/src/protocol/manifest.ts', by: './primitives/manifest.ts' },
  { url: '/src/protocol/reputation-fold.ts', by: './primitives/reputation-fold.ts' },
  { url: '/src/protocol/slot-chain.ts', by: './primitives/slot-chain.ts' },
  { url: '/src/protocol/task.ts', by: './primitives/task.ts' },
]

/** @type {import('node:module').ResolveHook} */
export async function resolve(specifier, context, nextResolve) {
  const parent = context.parentURL?.replace(/[?#].*$/, '') ?? ''
  const replaced = REPLACED.find((row) => row.specifier === specifier && parent.endsWith(row.of))
  if (replaced !== undefined)
    return nextResolve(new URL(replaced.by, import.meta.url).href, context)
  const found = await nextResolve(specifier, context)
  const url = found.url.replace(/[?#].*$/, '')
  const standIn = MODULES.find((row) => url.endsWith(row.url))
  if (standIn === undefined || parent.includes('/simulation/primitives/')) return found
  return nextResolve(new URL(standIn.by, import.meta.url).href, context)
}

/** What tsx puts around every function that it makes anonymous, so that it bears its name. */
const NAMING = /var __name ?= ?\((\w+), ?\w+\) ?=> ?__defProp\(\1, ?"name", ?\{[^}]*\}\)/

/**
 * Simulated people make hundreds of functions for every message, and nobody reads their names.
 *
 * @type {import('node:module').LoadHook}
 */
export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context)
  if (!/\.ts($|[?#])/.test(url) || loaded.format !== 'module') return loaded
  const source = Buffer.from(loaded.source ?? '').toString()
  return { ...loaded, source: source.replace(NAMING, 'var __name = (named) => named') }
}
