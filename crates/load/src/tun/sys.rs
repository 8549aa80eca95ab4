//! The kernel interfaces that no safe wrapper covers: the TUN device, its address, new namespaces, a
//! child that does not outlive us, and who runs first. The only file with `unsafe`.
#![allow(unsafe_code)]

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::UnshareFlags;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Opens `/dev/net/tun` and makes a device of this name, which goes when the descriptor does.
pub(super) fn open_tun(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    let mut request = Request::named(name);
    // Bare IP packets: no Ethernet header and no packet information in front of them.
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    ioctl(&device, libc::TUNSETIFF, &mut request)?;
    Ok(device)
}

/// Gives an interface an address and a size for its packets, and brings it up.
pub(super) fn configure(name: &str, setup: &InterfaceSetup) -> io::Result<()> {
    let control = control_socket()?;
    let mut request = Request::named(name);
    request.ifr_ifru.ifru_mtu = setup.packet_bytes;
    ioctl(&control, libc::SIOCSIFMTU, &mut request)?;
    request.ifr_ifru.ifru_addr = internet_address(setup.address);
    ioctl(&control, libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = internet_address(setup.netmask);
    ioctl(&control, libc::SIOCSIFNETMASK, &mut request)?;
    bring_up(name)
}

/// Sets how many packets may wait in an interface. Only root of the host may, not root of a namespace.
pub(super) fn set_queue(name: &str, packets: i32) -> io::Result<()> {
    let control = control_socket()?;
    let mut request = Request::named(name);
    // The queue's length has no member of its own in the union; it is an integer like the MTU.
    request.ifr_ifru.ifru_mtu = packets;
    ioctl(&control, libc::SIOCSIFTXQLEN, &mut request)
}

/// Brings an interface up as it is.
pub(super) fn bring_up(name: &str) -> io::Result<()> {
    let control = control_socket()?;
    let mut request = Request::named(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(&control, libc::SIOCSIFFLAGS, &mut request)
}

/// Any socket will do to ask about interfaces.
fn control_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(
        AddressFamily::INET,
        SocketType::DGRAM,
        None,
    )?)
}

/// What an interface is told.
pub(super) struct InterfaceSetup {
    pub(super) address: Ipv4Addr,
    pub(super) netmask: Ipv4Addr,
    pub(super) packet_bytes: i32,
}

/// Moves the calling thread into a new network namespace, and into a new user namespace first if asked.
/// Threads and processes which it starts from then on are there too.
pub(super) fn unshare_network(with_user: bool) -> io::Result<()> {
    let user = if with_user {
        UnshareFlags::NEWUSER
    } else {
        UnshareFlags::empty()
    };
    // SAFETY:
    // - No descriptor may become invalid under its owner → neither flag touches the descriptor table;
    //   sockets that are open stay in the namespace they were opened in.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | user) }?)
}

/// Starts a command that is killed when the calling thread ends, however that happens.
pub(super) fn spawn_bound(command: &mut Command) -> io::Result<Child> {
    // SAFETY:
    // - Between fork and exec only async-signal-safe calls are allowed → the closure makes one prctl
    //   system call, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            let signal = Some(rustix::process::Signal::KILL);
            Ok(rustix::process::set_parent_process_death_signal(signal)?)
        });
    }
    command.spawn()
}

/// Lets the calling thread run before all ordinary ones, or as one of them again. Needs CAP_SYS_NICE.
pub(super) fn run_first(first: bool) -> io::Result<()> {
    let (policy, sched_priority) = if first {
        (libc::SCHED_FIFO, 1)
    } else {
        (libc::SCHED_OTHER, 0)
    };
    let parameters = libc::sched_param { sched_priority };
    // SAFETY:
    // - The kernel reads one `sched_param` → it lives until the call returns.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

type Request = libc::ifreq;

trait Named {
    fn named(name: &str) -> Self;
}

impl Named for Request {
    /// A request about the interface of this name, all else zero.
    fn named(name: &str) -> Self {
        // SAFETY:
        // - All zeroes must be a valid value → `ifreq` is a C struct of integers, a union of such and
        //   one pointer, which is then null and never followed here.
        let mut request: Self = unsafe { std::mem::zeroed() };
        assert!(
            name.len() < request.ifr_name.len(),
            "names are ours, and short"
        );
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }
}

/// An address as the requests want it.
fn internet_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // Two bytes of port, then the address as it is on the wire.
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

fn ioctl(descriptor: &OwnedFd, code: libc::Ioctl, request: &mut Request) -> io::Result<()> {
    // SAFETY:
    // - The descriptor must be open → it is borrowed for the whole call.
    // - The kernel reads and writes one `ifreq` for each of the codes used in this file → `request`
    //   is one, exclusively borrowed for the whole call.
    match unsafe { libc::ioctl(descriptor.as_raw_fd(), code, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
