/** Starts a daemon with parts replaced: the way that test builds differ from the product. */
import { parseArgs } from 'node:util'
import type { DaemonOverrides } from '../../src/daemon.js'

const { values } = parseArgs({
  args: process.argv.slice(3),
  options: {
    home: { type: 'string' },
    network: { type: 'string' },
    preset: { type: 'string' },
    listen: { type: 'string', multiple: true },
    bootstrap: { type: 'string', multiple: true },
    role: { type: 'string' },
    'no-execute': { type: 'boolean' },
  },
})

/** The home that the flags name, for builds that sign for themselves. */
export const HOME = values.home ?? ''
export const NETWORK = values.network ?? ''

/** Runs until SIGTERM, like `ctd start`. */
export async function startTestBuild(overrides: DaemonOverrides): Promise<void> {
  const { loadConfig } = await product('config')
  const { startDaemon } = await product('daemon')
  const { 'no-execute': noExecute, ...rest } = values
  const flags = { ...rest, ...(noExecute === true ? { execute: false } : {}) }
  const daemon = await startDaemon(loadConfig({ flags, env: process.env }), overrides)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      void daemon.stop().then(() => process.exit(0))
    })
  }
}

interface Product {
  readonly config: typeof import('../../src/config.js')
  readonly daemon: typeof import('../../src/daemon.js')
  readonly identity: typeof import('../../src/identity.js')
  readonly 'wire/envelope': typeof import('../../src/wire/envelope.js')
}

/** A compiled module of the product: the daemon must meet one copy of each, and that is `dist`. */
export async function product<K extends keyof Product>(name: K): Promise<Product[K]> {
  return (await import(`../../dist/${name}.js`)) as Product[K]
}

/** The same part with some of its methods replaced. */
export function replaceIn<T extends object>(part: T, changes: Partial<T>): T {
  return new Proxy(part, {
    get(target, key) {
      if (Object.hasOwn(changes, key)) return Reflect.get(changes, key) as unknown
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}
