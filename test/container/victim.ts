/** Runs the task given on standard input and says so, until it is killed. */
import { text } from 'node:stream/consumers'
import { DockerRuntime } from '../../src/container/docker-runtime.js'

await new DockerRuntime().run(
  JSON.parse(await text(process.stdin)),
  { progress: () => undefined, log: () => undefined, started: () => console.log('started') },
  new AbortController().signal,
)
