/**
 * A datastore with a bound on what strangers can fill: DHT records and remembered peers. libp2p
 * sets none. Beyond the bound the entry written longest ago goes. Everything else passes through.
 */
import type { Libp2pOptions } from 'libp2p'
import { NETWORK_LIMITS } from './limits.js'

/** Where libp2p keeps peers and DHT records: any `interface-datastore`, opened by the caller. */
export type NetworkDatastore = NonNullable<Libp2pOptions['datastore']>

type Key = Parameters<NetworkDatastore['put']>[0]

interface Bound {
  readonly prefix: string
  readonly maxKeys: number
  /** Keys in the order of their last write. */
  readonly keys: Map<string, Key>
}

/** Wraps an open datastore, counting what it holds already. */
export async function createBoundedDatastore(
  datastore: NetworkDatastore,
  maxKeys: { readonly records: number; readonly peers: number } = {
    records: NETWORK_LIMITS.dhtStoredRecords,
    peers: NETWORK_LIMITS.knownPeers,
  },
): Promise<NetworkDatastore> {
  const bounds: readonly Bound[] = [
    { prefix: '/dht/', maxKeys: maxKeys.records, keys: new Map() },
    { prefix: '/peers/', maxKeys: maxKeys.peers, keys: new Map() },
  ]
  for (const { prefix, keys } of bounds) {
    for await (const key of datastore.queryKeys({ prefix })) keys.set(key.toString(), key)
  }
  const boundOf = (key: Key): Bound | undefined =>
    bounds.find(({ prefix }) => key.toString().startsWith(prefix))
  const forget = (key: Key): void => {
    boundOf(key)?.keys.delete(key.toString())
  }
  const makeRoom = async (key: Key): Promise<void> => {
    const bound = boundOf(key)
    if (bound === undefined) return
    bound.keys.delete(key.toString())
    bound.keys.set(key.toString(), key)
    for (const [name, oldest] of bound.keys) {
      if (bound.keys.size <= bound.maxKeys) return
      bound.keys.delete(name)
      await datastore.delete(oldest)
    }
  }

  return {
    put: async (key, value, options) => {
      await makeRoom(key)
      return datastore.put(key, value, options)
    },
    async *putMany(source, options) {
      for await (const pair of source) {
        await makeRoom(pair.key)
        await datastore.put(pair.key, pair.value, options)
        yield pair.key
      }
    },
    delete: (key, options) => {
      forget(key)
      return datastore.delete(key, options)
    },
    async *deleteMany(source, options) {
      for await (const key of source) {
        forget(key)
        await datastore.delete(key, options)
        yield key
      }
    },
    get: (key, options) => datastore.get(key, options),
    has: (key, options) => datastore.has(key, options),
    getMany: (source, options) => datastore.getMany(source, options),
    query: (query, options) => datastore.query(query, options),
    queryKeys: (query, options) => datastore.queryKeys(query, options),
    batch: () => datastore.batch(),
  }
}
