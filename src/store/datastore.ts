/** The database in which libp2p keeps its peers; beside ours, since it has its own keys. */
import { LevelDatastore } from 'datastore-level'
import { diskError, errorCode } from '../errors.js'

/**
 * What libp2p remembers here is a convenience. A full disk loses it what is new, and must not end
 * the connections that it has: libp2p writes to it before it opens a stream.
 */
export class Datastore extends LevelDatastore {
  override async put(
    ...entry: Parameters<LevelDatastore['put']>
  ): ReturnType<LevelDatastore['put']> {
    try {
      return await super.put(...entry)
    } catch (error) {
      if (errorCode(diskError(error)) === 'DISK_FULL') return entry[0]
      throw error
    }
  }

  override async delete(...key: Parameters<LevelDatastore['delete']>): Promise<void> {
    try {
      await super.delete(...key)
    } catch (error) {
      if (errorCode(diskError(error)) !== 'DISK_FULL') throw error
    }
  }
}

export async function openDatastore(path: string): Promise<Datastore> {
  const datastore = new Datastore(path)
  await datastore.open()
  return datastore
}
