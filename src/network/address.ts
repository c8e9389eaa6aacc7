/**
 * IP addresses inside multiaddrs: the prefix a peer comes from, and whether an address is private.
 */
import { BlockList, isIP } from 'node:net'
import { multiaddr } from '@multiformats/multiaddr'
import type { Multiaddr } from '@multiformats/multiaddr'
import { CtdError } from '../errors.js'
import { parsePeerId } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'

const PRIVATE = new BlockList()
// RFC 1918, RFC 6598, RFC 3927, RFC 1122 and the IPv6 counterparts (RFC 4291, RFC 4193).
PRIVATE.addSubnet('0.0.0.0', 8)
PRIVATE.addSubnet('10.0.0.0', 8)
PRIVATE.addSubnet('100.64.0.0', 10)
PRIVATE.addSubnet('127.0.0.0', 8)
PRIVATE.addSubnet('169.254.0.0', 16)
PRIVATE.addSubnet('172.16.0.0', 12)
PRIVATE.addSubnet('192.168.0.0', 16)
PRIVATE.addAddress('::', 'ipv6')
PRIVATE.addAddress('::1', 'ipv6')
PRIVATE.addSubnet('fc00::', 7, 'ipv6')
PRIVATE.addSubnet('fe80::', 10, 'ipv6')

/** @throws CtdError BAD_ADDRESS */
export function parseAddress(text: string): Multiaddr {
  try {
    return multiaddr(text)
  } catch (error) {
    throw new CtdError('BAD_ADDRESS', `not a multiaddr: ${text.slice(0, 120)}`, {
      hint: 'write it as /ip4/203.0.113.5/tcp/4701/p2p/12D3Koo…',
      cause: error,
    })
  }
}

/** The peer id at the end of a multiaddr. @throws CtdError BAD_ADDRESS, BAD_PEER_ID */
export function peerIdInAddress(text: string): PeerId {
  const id = parseAddress(text)
    .getComponents()
    .findLast(({ name }) => name === 'p2p')?.value
  if (id !== undefined) return parsePeerId(id)
  throw new CtdError('BAD_ADDRESS', `a bootstrap address ends in /p2p/<peer id>: ${text}`)
}

/** The IP address a multiaddr begins with, or `''` where it has none (a name, a relay). */
export function ipOf(address: Multiaddr): string {
  for (const { name, value } of address.getComponents()) {
    if ((name === 'ip4' || name === 'ip6') && value !== undefined) return value
  }
  return ''
}

/** True for loopback, link-local and private addresses, which strangers must not make us dial. */
export function isPrivateIp(ip: string): boolean {
  const version = isIP(ip)
  if (version === 0) return false
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1]
  if (mapped !== undefined) return isPrivateIp(mapped)
  return PRIVATE.check(ip, version === 4 ? 'ipv4' : 'ipv6')
}

/**
 * The network a peer sits in: `/24` of an IPv4, `/48` of an IPv6 address in text, such as
 * `203.0.113.0/24` and `2001:db8:1::/48`; `''` for anything else.
 */
export function prefixOfIp(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1] ?? ip
  const version = isIP(mapped)
  if (version === 4) return `${mapped.split('.').slice(0, 3).join('.')}.0/24`
  if (version === 6) return `${expandIpv6(mapped).slice(0, 3).map(trimGroup).join(':')}::/48`
  return ''
}

/** The eight groups of an IPv6 address without its zone. */
function expandIpv6(ip: string): string[] {
  const [head = '', tail] = (ip.split('%')[0] ?? '').split('::')
  const left = head === '' ? [] : head.split(':')
  if (tail === undefined) return left
  const right = tail === '' ? [] : tail.split(':')
  const gap = Math.max(0, 8 - left.length - right.length)
  return [...left, ...Array.from({ length: gap }, () => '0'), ...right]
}

function trimGroup(group: string): string {
  return Number.parseInt(group, 16).toString(16)
}

/** Our name of a libp2p peer; nothing for keys that are not Ed25519, which cannot take part. */
export function toPeerId(peer: { toString(): string }): PeerId | undefined {
  try {
    return parsePeerId(peer.toString())
  } catch {
    // Not one of ours.
    return undefined
  }
}
