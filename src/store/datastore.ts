/** The database in which libp2p keeps its peers; beside ours, since it has its own keys. */
import { LevelDatastore } from 'datastore-level'

export type Datastore = LevelDatastore

export async function openDatastore(path: string): Promise<Datastore> {
  const datastore = new LevelDatastore(path)
  await datastore.open()
  return datastore
}
