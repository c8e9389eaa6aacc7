/**
 * Reporter of `scripts/test.ts`: one JSON line for each test of `node --test`, so that counts need
 * no parsing of text for people. Suites and the wrappers around files and subtests do not count;
 * a file that could not run, or holds no test, is a failure.
 */
const STDERR_KEPT = 4096

export default async function* report(source) {
  const complaints = new Map()
  for await (const { type, data } of source) {
    if (type === 'test:stderr') {
      const text = (complaints.get(data.file) ?? '') + data.message
      complaints.set(data.file, text.slice(-STDERR_KEPT))
    }
    if (type !== 'test:pass' && type !== 'test:fail') continue
    const isFile = /\.test\.[cm]?[jt]s$/.test(data.name)
    if (
      data.details?.type === 'suite' &&
      !isFile &&
      type === 'test:pass' &&
      data.skip === undefined
    )
      continue
    const error = data.details?.error
    if (error?.failureType === 'subtestsFailed') continue
    const isSkipped = data.skip !== undefined || data.todo !== undefined
    const isEmpty = isFile && type === 'test:pass' && !isSkipped
    const outcome = isSkipped ? 'skipped' : type === 'test:pass' && !isEmpty ? 'passed' : 'failed'
    const line = {
      outcome,
      name: data.name,
      file: data.file ?? '',
      ms: Math.round(data.details?.duration_ms ?? 0),
      // How it failed: by its own code, a time limit, a hook; and with which error.
      failureType: error?.failureType ?? '',
      errorName: error?.cause?.name ?? '',
      reason:
        reasonOf(data, error, isEmpty) + (isFile ? `\n${complaints.get(data.file) ?? ''}` : ''),
    }
    yield `${JSON.stringify(line)}\n`
  }
}

function reasonOf({ skip, todo }, error, isEmpty) {
  if (isEmpty) return 'the file holds no test'
  const why = skip ?? todo
  if (why !== undefined) return typeof why === 'string' ? why : ''
  const cause = error?.cause
  return String(cause?.stack ?? cause?.message ?? cause ?? error?.message ?? '')
}
