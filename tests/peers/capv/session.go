// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// vcenter is one login: the SOAP and the REST session of an account on a server.
type vcenter struct {
	client *govmomi.Client
	rest   *rest.Client
	finder *find.Finder
	dc     *object.Datacenter
}

// sessions keeps logins, one for each server, datacenter, user and password, as long as they live.
type sessions struct {
	mu   sync.Mutex
	live map[string]*vcenter
}

type account struct {
	server, thumbprint, datacenter, user, password string
}

func (a *account) key() string {
	sum := sha256.Sum256([]byte(a.password))
	return strings.Join([]string{a.server, a.thumbprint, a.datacenter, a.user, hex.EncodeToString(sum[:])}, "#")
}

// get hands out the session of an account, after it was seen to be alive, or logs in.
func (s *sessions) get(ctx context.Context, a *account) (*vcenter, error) {
	log := ctrl.LoggerFrom(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := a.key()
	if v := s.live[key]; v != nil {
		user, err := v.client.SessionManager.UserSession(ctx)
		var other *rest.Session
		if err == nil && user != nil {
			other, err = v.rest.Session(ctx)
		}
		if err == nil && user != nil && other != nil {
			return v, nil
		}
		log.Info("The session is no longer there, logging in again", "server", a.server)
		v.logout(ctx)
		delete(s.live, key)
	}
	v, err := login(ctx, a)
	if err != nil {
		return nil, err
	}
	s.live[key] = v
	return v, nil
}

func login(ctx context.Context, a *account) (*vcenter, error) {
	log := ctrl.LoggerFrom(ctx)
	u, err := soap.ParseURL(a.server)
	if err != nil || u == nil {
		return nil, fmt.Errorf("error parsing vSphere URL %q: %v", a.server, err)
	}
	u.User = url.UserPassword(a.user, a.password)
	insecure := a.thumbprint == ""
	sc := soap.NewClient(u, insecure)
	if insecure {
		log.Info("No thumbprint is set: the certificate of the vCenter is NOT verified", "server", a.server)
	} else {
		sc.SetThumbprint(u.Host, a.thumbprint)
	}
	vc, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, fmt.Errorf("error setting up new vSphere SOAP client: %w", err)
	}
	vc.UserAgent = "pcg-test-capv"
	v := &vcenter{client: &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}}
	if err = v.client.Login(ctx, u.User); err != nil {
		return nil, fmt.Errorf("failed to login: %w", err)
	}
	v.rest = rest.NewClient(vc)
	if err = v.rest.Login(ctx, u.User); err == nil {
		v.finder = find.NewFinder(vc, false)
		v.dc, err = v.finder.DatacenterOrDefault(ctx, a.datacenter)
	}
	if err != nil {
		v.logout(ctx)
		return nil, fmt.Errorf("unable to set up the session with %s: %w", a.server, err)
	}
	v.finder.SetDatacenter(v.dc)
	log.Info("Logged in", "server", a.server, "user", a.user)
	return v, nil
}

func (v *vcenter) logout(ctx context.Context) {
	if v.rest != nil {
		_ = v.rest.Logout(ctx)
	}
	_ = v.client.Logout(ctx)
}

// close ends all sessions; the manager calls it when it ends.
func (s *sessions) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.live {
		v.logout(ctx)
		delete(s.live, key)
	}
}

// credentials reads the user and password that identityRef names, else those of the manager's own file.
func (r *reconcilers) credentials(ctx context.Context, c *vSphereCluster) (user, password string, err error) {
	ref := c.Spec.IdentityRef
	if ref == nil {
		return r.user, r.password, nil
	}
	key := client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}
	if ref.Kind == "VSphereClusterIdentity" {
		if key, err = r.identitySecret(ctx, c, ref.Name); err != nil {
			return "", "", err
		}
	}
	secret := &corev1.Secret{}
	if err = r.Get(ctx, key, secret); err != nil {
		return "", "", err
	}
	for _, field := range []string{"username", "password"} {
		if len(secret.Data[field]) == 0 {
			return "", "", fmt.Errorf("secret %s has no %s", key, field)
		}
	}
	trim := func(field string) string { return strings.TrimRight(string(secret.Data[field]), "\r\n") }
	return trim("username"), trim("password"), nil
}

func (r *reconcilers) identitySecret(ctx context.Context, c *vSphereCluster, name string) (client.ObjectKey, error) {
	none := client.ObjectKey{}
	identity := &vSphereClusterIdentity{}
	if err := r.Get(ctx, client.ObjectKey{Name: name}, identity); err != nil {
		return none, err
	}
	if identity.Spec.AllowedNamespaces == nil {
		return none, fmt.Errorf("namespace %s is not allowed to use VSphereClusterIdentity %s", c.Namespace, name)
	}
	selector, err := metav1.LabelSelectorAsSelector(&identity.Spec.AllowedNamespaces.Selector)
	if err != nil {
		return none, err
	}
	ns := &corev1.Namespace{}
	if err = r.Get(ctx, client.ObjectKey{Name: c.Namespace}, ns); err != nil {
		return none, err
	}
	if !selector.Matches(labels.Set(ns.Labels)) {
		return none, fmt.Errorf("namespace %s is not allowed to use VSphereClusterIdentity %s", c.Namespace, name)
	}
	return client.ObjectKey{Namespace: r.namespace, Name: identity.Spec.SecretName}, nil
}

// session is the login for a cluster, on the server and in the datacenter of one machine of it.
func (r *reconcilers) session(ctx context.Context, c *vSphereCluster, spec *CloneSpec) (*vcenter, error) {
	user, password, err := r.credentials(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("failed to get credentials from IdentityRef: %w", err)
	}
	a := &account{server: c.Spec.Server, thumbprint: c.Spec.Thumbprint, user: user, password: password}
	if spec != nil {
		a.datacenter = spec.Datacenter
		if spec.Server != "" {
			a.server = spec.Server
		}
		if spec.Thumbprint != "" {
			a.thumbprint = spec.Thumbprint
		}
	}
	return r.sessions.get(ctx, a)
}
