/**
 * Where a daemon lives, known without loading its configuration: the same rule as `config.ts`,
 * kept apart because that file loads the schema library and a thin client must be quick.
 */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** The flag, else `$CTD_HOME`, else `$XDG_DATA_HOME/ctd`, else `~/.local/share/ctd`; absolute. */
export function resolveHome(flag: string | undefined, env: NodeJS.ProcessEnv): string {
  const data = env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share')
  return resolve(flag ?? env['CTD_HOME'] ?? join(data, 'ctd'))
}

/** The socket of a home. */
export function socketPathOf(home: string): string {
  return join(home, 'run', 'ctd.sock')
}
